"""HTML of the method's steps, as “How it works” shows them."""

from markupsafe import Markup

from app.answers.comparison import MERGE
from app.languages import texts
from app.page.views import page_html, results_html
from app.page.views.template import macros
from app.visitors.tab import Tab
from core.sglora.engine import Adaptation, SGLora
from core.sglora.sketch import Sketch

NEAR, EXAMPLES = 5, 6  # experts beside the routed ones; photos of each search
_html = macros("how.html")
tour = _html.tour


def boxes(engine: SGLora, made: Adaptation | None) -> dict[str, Markup]:
    """The steps from the sentence to the adapter; before a sentence, what they will show."""
    bars = "" if made is None else page_html.weights(engine, made.routing, made.request.k + NEAR, made.fits, compared=True)
    sketch = None if made is None else Sketch.of(engine, made)
    steps = {"sentence": made, "experts": bars, "prior": sketch, "draw": sketch, "decoder": sketch}
    return {name: getattr(_html, name)(made, shown) for name, shown in steps.items()}


def search(tab: Tab) -> Markup:
    """The first photos of the tab's question in each column, and what is counted over all captions."""
    shown, columns = tab.comparison, []
    if shown is not None and shown.of == "photos":
        kept = [column for column in shown.columns if column.title != MERGE]
        columns = [(column, results_html.cards(shown, column, EXAMPLES)[:EXAMPLES]) for column in kept]
    counted = results_html.headline(shown) if shown is not None and shown.measurable and shown.measured else ""
    return _html.search(texts.of(shown.title) if columns and shown else "", columns, counted)
