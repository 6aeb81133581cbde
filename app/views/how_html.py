"""HTML of the picture that explains the method."""

from __future__ import annotations

from markupsafe import Markup

from app.tab import Tab
from app.views import experts_html
from app.views.results_html import first_photos
from app.views.template import macros
from core.sglora.repository import ExpertRepository

DRAWN, PHOTOS = 4, 3  # experts in the picture; photos of each search
_html = macros("how.html")


def picture(repository: ExpertRepository, tab: Tab) -> Markup:
    """The way from the tab's sentence to its results, as far as there are any."""
    made, shown = tab.adaptation, tab.comparison
    chosen = [] if made is None else zip(made.routing.chosen.tolist(), made.routing.weights.tolist(), strict=True)
    experts = [(experts_html.short(repository.experts[i]), weight) for i, weight in chosen][:DRAWN]
    return _html.picture(made, experts, [] if shown is None else first_photos(shown, tab.visitor.files, PHOTOS))
