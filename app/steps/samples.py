"""The sample photos and questions about them, for a first look."""

from __future__ import annotations

import gradio as gr

from app import texts
from app.api import HEAVY
from app.question import SAMPLES, Question
from app.samples import sample_questions
from app.steps.context import ANSWER, Controls, Part, Updates
from app.steps.step import Step, clicked, with_estimate
from app.tab import Tab
from core.data.sample_photos import Example, examples


class SampleQuestions(Step):
    """Laid out only if there are samples."""

    def layout(self) -> None:
        self.try_it = gr.Button(
            self.t("TRY"), variant="primary", min_width=220, visible=not self.context.opens_on_samples, elem_id="try-it"
        )

    def about_samples(self) -> None:
        """Lay out the questions that are shown with the samples."""
        label = self.t.html("EXAMPLES_CHOSEN", lambda: texts.EXAMPLES_CHOSEN.format(**examples()._asdict()))
        self.examples = self.chips("examples", label, (), self.context.opens_on_samples)
        self.context.shows(Part.RESULTS, [self.examples, self.try_it], self.show)

    def show(self, tab: Tab, controls: Controls) -> Updates:
        """Show the questions about the samples, or the button that brings them."""
        samples, words = controls.where == SAMPLES, [[example.query] for example in sample_questions()]
        button = gr.Button(visible=not samples, variant="secondary" if tab.visitor.photos else "primary")
        return {self.examples: gr.Dataset(samples=words, visible=samples), self.try_it: button}

    def wire(self) -> None:
        controls, answer = self.context.controls, self.context.answer
        boxes = [controls["description"], controls["query"], controls["where"], controls["folder"]]
        shown = (Part.PHOTOS, *ANSWER)
        self.on(self.try_it.click, self._try, (), boxes, shown, answer, HEAVY)
        self.on(self.examples.select, self._chosen, (), boxes, shown, answer, HEAVY, trigger_mode="multiple")

    def _try(self, tab: Tab, controls: Controls) -> Updates:
        assert self.context.sources.samples is not None
        self.context.sources.samples.gallery(self.context.engine(tab), with_estimate(texts.INDEXING, texts.UNIT_PHOTOS))
        return self._ask(sample_questions()[0], tab, controls)

    def _chosen(self, tab: Tab, event: gr.SelectData, controls: Controls) -> Updates:
        return self._ask(clicked(sample_questions(), lambda example: example.query, event), tab, controls)

    def _ask(self, example: Example, tab: Tab, controls: Controls) -> Updates:
        values = {**example._asdict(), "where": SAMPLES, "folder": ""}
        controls = controls._replace(**values, since="", until="")
        answer = self.answer(tab, Question.words(controls.query, controls.scope), controls)
        return answer | self.context.show(tab, controls, Part.PHOTOS) | self.context.boxes(**values)
