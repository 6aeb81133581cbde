"""The sentence that adapts the search, and the experts that it is routed to."""

from __future__ import annotations

import gradio as gr

from app.actions import answering
from app.languages import texts
from app.page.steps.context import ANSWER, Controls, Part, Updates
from app.page.steps.step import Step, clicked, private, rows, textbox
from app.page.views import page_html
from app.page.views.template import script
from app.visitors.tab import Tab
from core.common.errors import StudioError
from core.common.text import clean_text
from core.retrieval.suggest import Look
from core.sglora.description import subject
from core.sglora.engine import SGLora
from core.sglora.repository import EVERYDAY, Expert
from core.sglora.router import Routing


class Describe(Step):
    def layout(self) -> None:
        # On a phone, a line folds the sentence and its experts once they are applied: the answer is what visitors look for.
        folded = page_html.folded(self.t("DESCRIPTION_LABEL")) if self.context.opens_on_samples else ""
        self.folded = gr.HTML(folded, js_on_load=script("fold"), elem_id="folded")
        with gr.Row(equal_height=False, elem_classes="sg-ask"):
            label, example = self.t("DESCRIPTION_LABEL"), self.t("DESCRIPTION_PLACEHOLDER")
            self.description = textbox("description", label, example, 3, scale=4, min_width=200)
            self.button = gr.Button(self.t("GENERATE_BUTTON"), scale=1, min_width=100, elem_id="generate")
        self.routing = gr.HTML(page_html.note(self.t("ROUTE_EMPTY")), elem_id="routing")
        self.suggestion = gr.Button("", size="sm", visible=False, elem_id="suggestion")
        self.look_like = self.chips("look-like", self.t("LOOK_LIKE"))
        self.no_special = gr.HTML(visible=False, elem_id="no-special")
        self.context.controls["description"] = self.description

    def more(self) -> None:
        self.chart = gr.HTML(elem_id="chart")
        self.context.shows(Part.ROUTING, [self.routing, self.suggestion], self.show)
        self.context.shows_once_open(self.context.drawer.expand, [self.chart], self._details, Part.ROUTING)
        self.context.shows(Part.ADAPTER, [self.folded, self.look_like, self.no_special], self._suggested)

    def wire(self) -> None:
        # Typing routes at once; the last text wins.
        self.on(self.description.change, parts=[Part.ROUTING], trigger_mode="always_last")
        self.answers([self.button.click, self.description.submit], self._adapt)
        self.answers(self.look_like.select, self._take, trigger_mode="multiple")
        self.suggestion.click(None, self.suggestion, self.description, js="words => words", **private())

    def _adapt(self, tab: Tab, controls: Controls) -> Updates:
        """Generate the adapter, and ask the current question with it."""
        asked = controls.asked(controls.words or tab.asked.question)
        if asked.question is None:
            clean_text(controls.description)  # raises if the sentence is missing, too
        return self.context.show_again(tab, controls, *ANSWER, asked=asked)

    def _take(self, tab: Tab, event: gr.SelectData, controls: Controls) -> Updates:
        experts = self.context.engine(tab).repository.experts
        sentence = texts.topic(clicked(experts, _topic, event.value).description)
        shown = self._adapt(tab, controls._replace(description=sentence))
        return self.context.with_boxes(shown, description=sentence)

    def _suggested(self, tab: Tab, controls: Controls) -> Updates:
        """Show suggested sentences for photos, or a notice if there are none. Samples have examples instead. Fold a sentence
        that is applied, unless there is a notice about it."""
        made, look, folded = tab.adaptation, self._look(tab, controls), ""
        applied = made is not None and made.fit.fits and made.fit.remark is None and made.strength > 0
        if made is not None and applied and not answering.differs(self.context.engine(tab), tab, look, made.routing):
            folded = page_html.folded(texts.ADAPTED_TO.format(description=made.routing.description))
        own = None if controls.scope.samples else look
        experts = [] if own is None else own.suggested
        everyday = own is not None and all(expert.group == EVERYDAY for expert in experts)
        why = texts.EVERYDAY if experts else texts.UNKNOWN_PHOTOS
        return {
            self.folded: folded,
            self.look_like: gr.Dataset(samples=rows(map(_topic, experts)), visible=bool(experts)),
            self.no_special: gr.HTML(page_html.note(why), visible=everyday),
        }

    def _look(self, tab: Tab, controls: Controls) -> Look | None:
        library = self.context.library(tab, controls)
        return answering.look(self.context.engine(tab), tab, controls.scope, library, self.context.sources)

    def show(self, tab: Tab, controls: Controls) -> Updates:
        """Show the routing of the sentence. An error appears below the box, not in a toast."""
        engine, hidden = self.context.engine(tab), {self.suggestion: gr.Button(visible=False)}
        try:
            routing = _routing(engine, controls)
        except StudioError as error:
            return hidden | {self.routing: page_html.note(texts.of(error), "sg-warn")}
        if routing is None:
            return hidden | {self.routing: page_html.note(texts.ROUTE_EMPTY)}
        fit = engine.fit(routing)
        look = self._look(tab, controls) if fit.fits else None
        differs = answering.differs(engine, tab, look, routing)
        offered = look.suggested if look is not None and differs else []
        if not fit.fits and fit.remark is None:
            offered = [engine.repository.experts[int(routing.chosen[0])]]
        return {
            self.routing: page_html.routing(engine, routing, fit, differs, bool(offered)),
            self.suggestion: gr.Button(texts.topic(offered[0].description) if offered else "", visible=bool(offered)),
        }

    def _details(self, tab: Tab, controls: Controls) -> Updates:
        """Show all similarities. An invalid sentence leaves them as they were."""
        engine = self.context.engine(tab)
        try:
            routing = _routing(engine, controls)
        except StudioError:
            return {}
        chart = "" if routing is None else page_html.routing_details(engine, routing)
        return {self.chart: gr.HTML(chart, visible=routing is not None)}


def _routing(engine: SGLora, controls: Controls) -> Routing | None:
    """The routing of the sentence; None without one. Raises DescriptionError: when it is invalid."""
    wanted = controls.request
    return None if wanted is None else engine.route(wanted.description, wanted.k, wanted.tau)


def _topic(expert: Expert) -> str:
    return subject(texts.topic(expert.description))
