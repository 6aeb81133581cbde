"""The sample photos, and the page's example questions about them."""

from __future__ import annotations

import gradio as gr

from app.api import HEAVY
from app.languages import texts
from app.page.steps.context import ANSWER, Controls, Part, Updates
from app.page.steps.step import Step, clicked, rows, with_estimate
from app.page.views import page_html
from app.photos.samples import OPENING, sample_questions
from app.visitors.tab import Tab
from core.data.sample_photos import EVERYDAY, Example, sample_sets


class SampleQuestions(Step):
    """Laid out only if there are samples."""

    def layout(self) -> None:
        self.try_it = gr.Button(
            self.t("TRY"), variant="primary", min_width=220, visible=not self.context.opens_on_samples, elem_id="try-it"
        )

    def about_samples(self) -> None:
        """Lay out the sets of samples, and the example questions about the chosen set."""
        opening = self.context.opens_on_samples
        with gr.Row(equal_height=False, elem_classes="sg-samples"):
            self.sets = self.chips("sets", self.t("SETS"), opening)
            self.examples = self.chips("examples", self.t("SET_NOTE"), opening)

    def credits(self) -> None:
        self.made_by = gr.HTML(visible=False, elem_id="credits")
        self.context.shows(Part.RESULTS, [self.sets, self.examples, self.try_it, self.made_by], self.show)

    def show(self, tab: Tab, controls: Controls) -> Updates:
        """Show the sets and the questions about the chosen one, or the button that brings them."""
        name = controls.scope.samples
        about, credits = texts.EVERYDAY if name == EVERYDAY else texts.SET_NOTE, sample_sets()[name].credits if name else ""
        asked = rows(example.query for example in sample_questions(name))
        return {
            self.sets: gr.Dataset(samples=rows(map(_title, sample_sets())), visible=bool(name)),
            self.examples: gr.Dataset(label=about, samples=asked, visible=bool(name)),
            self.try_it: gr.Button(visible=not name),
            self.made_by: gr.HTML(page_html.note(credits), visible=bool(credits)),
        }

    def wire(self) -> None:
        shown = (), (), (Part.PHOTOS, *ANSWER), self.context.answer, HEAVY
        self.on(self.try_it.click, self._try, *shown)
        self.on(self.sets.select, self._open, *shown, trigger_mode="multiple")
        self.on(self.examples.select, self._chosen, *shown, trigger_mode="multiple")

    def _try(self, tab: Tab, controls: Controls, name: str = OPENING) -> Updates:
        assert self.context.sources.samples is not None
        self.context.sources.samples.gallery(self.context.engine(tab), name, with_estimate(texts.INDEXING, texts.UNIT_PHOTOS))
        return self._ask(sample_questions(name)[0], tab, controls._replace(where=name))

    def _open(self, tab: Tab, event: gr.SelectData, controls: Controls) -> Updates:
        return self._try(tab, controls, clicked(sample_sets(), _title, event.value))

    def _chosen(self, tab: Tab, event: gr.SelectData, controls: Controls) -> Updates:
        """Ask an example question. The typed sentence stays if all questions of the set have the same sentence."""
        questions = sample_questions(controls.where)
        example = clicked(questions, lambda example: example.query, event.value)
        if len({each.description for each in questions}) == 1:
            example = example._replace(description=controls.description)
        return self._ask(example, tab, controls)

    def _ask(self, example: Example, tab: Tab, controls: Controls) -> Updates:
        values = {**example._asdict(), "where": controls.where, "folder": "", "since": "", "until": ""}
        return self.answer(tab, controls, parts=(Part.PHOTOS, *ANSWER), **values)


def _title(name: str) -> str:
    return texts.of_sample(sample_sets()[name].title)
