"""HTML of the picture that explains the method."""

from __future__ import annotations

from markupsafe import Markup

from app.tab import Tab
from app.views import experts_html
from app.views.results_html import cards
from app.views.template import macros
from core.sglora.repository import ExpertRepository

DRAWN, PHOTOS = 4, 3  # experts in the picture; photos of each search
_html = macros("how.html")


def picture(repository: ExpertRepository, tab: Tab) -> Markup:
    """The way from the tab's sentence to its results, as far as there are any."""
    made, shown = tab.adaptation, tab.comparison
    chosen = [] if made is None else zip(made.routing.chosen.tolist(), made.routing.weights.tolist(), strict=True)
    experts = [(experts_html.short(repository.experts[i]), weight) for i, weight in chosen][:DRAWN]
    searches = []
    if shown is not None and shown.of == "photos":
        columns = shown.columns[:1] + shown.columns[1:][-1:]
        searches = [(column, cards(shown, column, tab.visitor.files, PHOTOS)[:PHOTOS]) for column in columns]
    return _html.picture(made, experts, searches)
