"""The sentence that adapts the search, and the experts that it is routed to."""

import gradio as gr

from app.actions import answering
from app.calls import SEARCH
from app.languages import texts
from app.page.step import Step, clicked, textbox
from app.page.view import Controls, Event, Now, Same, Updates
from app.page.views import page_html
from core.backbones.description import subject
from core.common.errors import StudioError
from core.common.text import one_line
from core.retrieval.suggest import Look
from core.sglora.engine import SGLora
from core.sglora.fit import Fit, remark_on
from core.sglora.repository import Expert
from core.sglora.router import Routing


class Describe(Step):
    def layout(self) -> None:
        context = self.context
        # On a phone, a line folds the sentence and its experts once they are applied: the answer is what visitors look for.
        folded = page_html.folded(self.t("DESCRIPTION_LABEL")) if context.opens_on_samples else ""
        self.folded = self.part("folded", folded, "fold")
        with gr.Row(equal_height=False, elem_classes="sg-ask"):
            label, example = self.t("DESCRIPTION_LABEL"), self.t("DESCRIPTION_PLACEHOLDER")
            self.description = textbox("description", label, example, 3, scale=4, min_width=200)
            self.button = gr.Button(self.t("GENERATE_BUTTON"), scale=1, min_width=100, elem_id="generate")
        self.routing = self.part("routing", page_html.note(self.t("ROUTE_EMPTY")), "weights")
        context.bars.append(self.routing)
        self.suggestion = gr.Button("", size="sm", visible=False, elem_id="suggestion")
        self.look_like = self.chips("look-like", self.t("LOOK_LIKE"))
        self.no_special = self.part("no-special")
        context.controls["description"] = self.description

    def more(self) -> None:
        chart = self.part("chart")
        self.view([self.routing, self.suggestion], lambda now: (_routed(now), _photos(now)), self._draw_routing)
        self.shows(chart, self._similarities, _routed, when="drawer")
        shown = [self.folded, self.look_like, self.no_special]
        self.view(shown, lambda now: (Same(now.tab.adaptation), _photos(now)), self._draw_suggested)

    def wire(self) -> None:
        # Typing routes at once; the last text wins. Gradio's own event of the box comes as well when the page sets it.
        self.on(self.folded.typed, writes="description", trigger_mode="always_last")
        self.asks([self.button.click, self.description.submit], self._adapt, writes="description")
        for bars in self.context.bars:
            self.on(bars.weigh, self._adapt, writes="weights", group=SEARCH, trigger_mode="always_last", asks=True)
            self.opens(bars.names, "names")
        self.asks(self.look_like.select, self._take, sets=["description", "weights"], trigger_mode="multiple")
        self.on(self.suggestion.click, lambda _, words: {"description": words}, [self.suggestion], ["description"])

    def _take(self, event: Event) -> Updates:
        experts = event.engine.repository.experts
        expert = clicked(experts, _topic, event.data.get("value"))
        return self._adapt(event, description=texts.topic(expert.description), weights="")

    def _draw_suggested(self, now: Now) -> Updates:
        """Show suggested sentences for photos, or a notice if there are none. Samples have examples instead. Fold a sentence
        that is applied, unless there is a notice about it."""
        made, engine, folded = now.tab.adaptation, now.engine, ""
        look = answering.look(engine, now.tab, now.controls.scope)
        applied = made is not None and made.fits and remark_on(engine.backbone, made.routing) is None and made.strength > 0
        if made is not None and applied and not answering.differs(engine, now.tab, look, made.routing):
            folded = page_html.folded(texts.ADAPTED_TO.format(description=made.routing.description))
        own = None if now.controls.scope.samples else look
        experts = [] if own is None or own.suggested is None else [own.suggested]
        return {
            self.folded: folded,
            self.look_like: gr.Dataset(samples=[[_topic(expert)] for expert in experts], visible=bool(experts)),
            self.no_special: page_html.note(_no_sentence(engine, own)) if own is not None and not experts else "",
        }

    def _draw_routing(self, now: Now) -> Updates:
        """Show the routing of the sentence. An error appears below the box, not in a toast."""
        engine, hidden = now.engine, {self.suggestion: gr.Button(visible=False)}
        try:
            routing = _routing(engine, now.controls)
        except StudioError as error:
            return hidden | {self.routing: page_html.note(texts.of(error), "sg-warn")}
        if routing is None:
            return hidden | {self.routing: page_html.note(texts.ROUTE_EMPTY)}
        fit, look = Fit.of(engine, routing), answering.look(engine, now.tab, now.controls.scope)
        differs = fit.fits and answering.differs(engine, now.tab, look, routing)
        # A sentence is offered that finds more in these photos. Without photos: the closest one.
        offered = None if look is None or (not differs and fit.fits) else look.suggested
        if look is None and not fit.fits and fit.remark is None:
            offered = engine.repository.experts[int(routing.chosen[0])]
        if offered is not None and one_line(texts.topic(offered.description)) == one_line(now.controls.description):
            offered = None  # the sentence is there: its weights by hand are what differs
        why = "" if look is None or not differs else _no_sentence(engine, look)
        return {
            self.routing: page_html.routing(engine, routing, fit, why, offered is not None, int(now.controls.k)),
            self.suggestion: gr.Button(texts.topic(offered.description) if offered else "", visible=offered is not None),
        }

    def _similarities(self, now: Now) -> str:
        """Of all experts. An invalid sentence leaves them as they were."""
        routing = _routing(engine := now.engine, now.controls)
        return "" if routing is None else page_html.routing_details(engine, routing)


def _routed(now: Now) -> object:
    # An invalid seed or strength has a message where the experts are.
    controls = now.controls
    sentence = controls.description, controls.k, controls.tau, controls.weights, controls.seed, controls.strength
    return sentence, Same(now.engine.repository)


def _photos(now: Now) -> object:
    """What the look at the photos depends on."""
    return now.visitor.photos, now.controls.where


def _routing(engine: SGLora, controls: Controls) -> Routing | None:
    """The routing of the sentence; None without one. Raises DescriptionError: when it is invalid."""
    wanted = controls.request
    return None if wanted is None else engine.route(wanted.description, wanted.k, wanted.tau, wanted.weights)


def _no_sentence(engine: SGLora, look: Look) -> str:
    if not look.everyday:
        return texts.UNKNOWN_PHOTOS
    return "" if engine.backbone.shared is None else texts.EVERYDAY


def _topic(expert: Expert) -> str:
    return subject(texts.topic(expert.description))
