"""The sample photos, and the page's example questions about them."""

from urllib.parse import urlencode

import gradio as gr

from app.calls import HEAVY
from app.languages import texts
from app.page.step import Step, clicked, with_estimate
from app.page.view import Event, Now, Updates
from app.page.views import page_html
from app.photos.samples import OPENING, sample_questions
from core.data.sample_photos import EVERYDAY, Example, sample_sets


class SampleQuestions(Step):
    """Laid out only if there are samples."""

    def layout(self) -> None:
        self.try_it = gr.Button(self.t("TRY"), variant="primary", min_width=220, elem_id="try-it")
        self.sight(self.try_it, lambda now: not now.controls.scope.samples, at_first=not self.context.opens_on_samples)

    def about_samples(self) -> None:
        opening = self.context.opens_on_samples
        with gr.Row(equal_height=False, elem_classes="sg-samples"):
            self.sets = self.chips("sets", self.t("SETS"), opening)
            self.examples = self.chips("examples", self.t("SET_NOTE"), opening)

    def credits(self) -> None:
        self.made_by = self.part("credits")
        marks = self.part("marked-samples", "", "samples", visible="hidden")
        self.shows(marks, _chosen, at_once=True)
        shown = [self.sets, self.examples, self.made_by]
        self.view(shown, lambda now: now.controls.scope.samples, self._draw, at_once=True)

    def _draw(self, now: Now) -> Updates:
        name = now.controls.scope.samples
        about, credits = texts.EVERYDAY if name == EVERYDAY else texts.SET_NOTE, sample_sets()[name].credits if name else ""
        asked = [[example.query] for example in sample_questions(name)]
        return {
            self.sets: gr.Dataset(samples=[[_title(each)] for each in sample_sets()], visible=bool(name)),
            self.examples: gr.Dataset(label=about, samples=asked, visible=bool(name)),
            self.made_by: page_html.note(credits) if credits else "",
        }

    def wire(self) -> None:
        sets = ["description", "query", "where", "folder", "since", "until", "random"]
        self.asks(self.try_it.click, self._try, sets=sets, group=HEAVY)
        self.asks(self.context.tour.start, self._try, sets=sets, group=HEAVY)
        self.asks(self.sets.select, self._open, sets=sets, group=HEAVY, trigger_mode="multiple")
        self.asks(self.examples.select, self._chosen, sets=sets, group=HEAVY, trigger_mode="multiple")

    def _try(self, event: Event, name: str = OPENING) -> Updates:
        assert self.context.sources.samples is not None
        progress = with_estimate(texts.INDEXING, texts.UNIT_PHOTOS)
        self.context.sources.samples.gallery(event.engine, name, progress)
        return self._ask(event, sample_questions(name)[0], name)

    def _open(self, event: Event) -> Updates:
        return self._try(event, clicked(sample_sets(), _title, event.data.get("value")))

    def _chosen(self, event: Event) -> Updates:
        """Ask an example question. The typed sentence stays if all questions of the set have the same sentence."""
        questions = sample_questions(event.controls.where)
        example = clicked(questions, lambda example: example.query, event.data.get("value"))
        if len({each.description for each in questions}) == 1:
            example = example._replace(description=event.controls.description)
        return self._ask(event, example, event.controls.where)

    def _ask(self, event: Event, example: Example, name: str) -> Updates:
        beside = event.controls.random if name == event.controls.where else True
        everything = {"where": name, "folder": "", "since": "", "until": "", "random": beside}
        return self.answer(event, **example._asdict(), **everything)


def _title(name: str) -> str:
    return texts.of_sample(sample_sets()[name].title)


def _chosen(now: Now) -> str:
    """The set that is searched, and the words that were asked: what is marked as chosen."""
    name = now.controls.scope.samples
    return urlencode({"set": _title(name), "asked": now.tab.asked.words}) if name else ""
