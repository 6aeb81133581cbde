"""The results: one question, answered with and without the adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import gradio as gr

from app.actions import answering
from app.answers.commands import evaluate_command, search_command
from app.answers.comparison import Comparison
from app.answers.question import Question
from app.api import SEARCH
from app.languages import language, texts
from app.page.steps.context import ANSWER, Controls, Part, Updates
from app.page.steps.step import Step, copied, with_estimate
from app.page.views import results_html
from app.page.views.template import script
from app.visitors.tab import Tab
from core.backbones.trained_words import unknown_words
from core.common.languages import language_remark

MORE, MOST_SHOWN = 48, 300  # results that a click adds, and most results shown
TRAINED = ("en", "de", "fr")  # page languages that trained the model: only these have a notice about unknown words


class Compare(Step):
    def layout(self) -> None:
        """Lay out what is counted over all captions. ``results`` comes below."""
        counting = self.t.html("NOT_COUNTED", results_html.not_counted) if self.context.opens_on_samples else ""
        with gr.Row(equal_height=False, elem_classes="sg-verdicts"):
            self.recall = gr.HTML(counting, elem_id="recall")

    def results(self) -> None:
        """Lay out the options and the answer."""
        with gr.Row(equal_height=True, visible=self.context.opens_on_samples, elem_classes="sg-options") as self.options:
            self._lay_out_options()
        self.marked = gr.HTML(elem_id="marked")
        self.answered = gr.HTML(js_on_load=script("results"), elem_id="results")
        self.original = gr.HTML("", js_on_load=script("original"), visible="hidden", elem_id="original")
        self.more_of_them = gr.Button(self.t("SHOW_MORE"), visible=False, elem_id="show-more")
        self.context.answer = self.answered

    def _lay_out_options(self) -> None:
        self.zero_shot = gr.Checkbox(
            True, label=self.t("WITH_ZERO_SHOT"), container=False, min_width=160, scale=0, elem_id="with-zero-shot"
        )
        self.folder = gr.Dropdown(
            [(self.t("FOLDER_ALL"), "")],
            value="",
            label=self.t("FOLDER"),
            allow_custom_value=True,  # a link may name a folder before the folders are known
            scale=0,
            min_width=110,
            visible=False,
            elem_id="folder",
        )
        self.since, self.until = (
            gr.Textbox(label=label, placeholder="2024-05-31", max_lines=1, scale=0, min_width=110, visible=False, elem_id=name)
            for label, name in ((self.t("SINCE"), "since"), (self.t("UNTIL"), "until"))
        )
        filters = {"folder": self.folder, "since": self.since, "until": self.until}
        self.context.controls |= {"zero_shot": self.zero_shot, **filters}

    def more(self) -> None:
        with gr.Row():
            self.merge = gr.Checkbox(False, label=texts.WITH_MERGE, container=False, min_width=200, elem_id="with-merge")
            self.random = gr.Checkbox(False, label=texts.WITH_RANDOM, container=False, min_width=200, elem_id="with-random")
        self.context.controls |= {"merge": self.merge, "random": self.random}
        label, info = texts.SEARCH_COMMAND_LABEL, texts.SEARCH_COMMAND_INFO
        self.commands = copied("search-command", label, info=info, lines=2, max_lines=6)
        shown = [self.options, self.answered, self.more_of_them, self.marked, self.recall, self.commands]
        self.context.shows(Part.RESULTS, shown, self.show)
        self.context.shows(Part.RESULTS, [self.folder, self.since, self.until], self._filters)
        self.context.shows(Part.PHOTOS, [self.answered], self._waiting)

    def wire(self) -> None:
        self.on(self.zero_shot.change, parts=[Part.RESULTS])
        self.answers([self.merge.change, self.random.change], self._rank_again)
        changed = [self.folder.input, *(event for day in (self.since, self.until) for event in (day.submit, day.blur))]
        self.answers(changed, self._filter)
        self.on(self.more_of_them.click, self._more, parts=[Part.RESULTS])
        # The enlarged photo fires ``like``. The box is emptied, for this question has no words.
        self.answers(self.answered.like, self._similar, trigger_mode="multiple")
        self.on(self.answered.expand, self._open, (), [self.original], trigger_mode="multiple")
        # The box first shows that recall is being counted. This change starts the counting.
        self.on(self.recall.change, self._measure, (), [self.recall], (), self.recall, SEARCH, trigger_mode="always_last")
        # Marks may come faster than they are counted. None is left out.
        self.on(self.answered.select, self._mark, (), [self.marked], [Part.NAMES], trigger_mode="multiple")

    def _more(self, tab: Tab, controls: Controls) -> Updates:
        tab.more += MORE
        return self.context.show(tab, controls, Part.RESULTS)

    def _similar(self, tab: Tab, event: gr.SelectData, controls: Controls) -> Updates:
        if tab.comparison is not None:  # search where the photo was found, whatever is chosen now
            controls = controls._replace(where=tab.comparison.asked.scope.value)
        return self.answer(tab, controls, Question("similar", str(event.index), scope=controls.scope), query="")

    def _open(self, tab: Tab, event: gr.SelectData, _: Controls) -> str:
        """Let the browser read the file of an enlarged photo of a library."""
        key = str(event.index)
        path = None if tab.comparison is None else tab.comparison.file(key)
        if path is None or not path.is_file():  # its thumbnail stays
            return ""
        return f"{key} {results_html.address(tab.visitor.files.borrow(path))}"

    def _filter(self, tab: Tab, controls: Controls) -> Updates:
        question, _ = tab.asked.question, controls.asked(None)  # raises if a day is invalid
        if question is None or question.kind == "photo":
            return {}
        controls = controls._replace(where=question.scope.value)
        return {} if question.scope == controls.scope else self.answer(tab, controls, replace(question, scope=controls.scope))

    def _filters(self, tab: Tab, controls: Controls) -> Updates:
        """Show the filters that tell the last answer's photos apart. The days stay: the visitor may have changed them since the
        question was asked."""
        comparison = tab.comparison
        folders = () if comparison is None else comparison.folders
        dated = bool(controls.since or controls.until) or (comparison is not None and comparison.several_days)
        choices = [(texts.FOLDER_ALL, ""), *((name, name) for name in folders)]
        return {
            self.folder: gr.Dropdown(choices, value=controls.folder or "", visible=len(folders) > 1 or bool(controls.folder)),
            self.since: gr.update(visible=dated),
            self.until: gr.update(visible=dated),
        }

    def _rank_again(self, tab: Tab, controls: Controls) -> Updates:
        merge, random = controls.beside(tab.asked.question)
        asked = replace(tab.asked, merge=merge, random=random)
        return self.context.show_again(tab, controls, *ANSWER, asked=asked)

    def _measure(self, tab: Tab, _: Controls) -> Updates:
        """Count recall over all captions, once the answer is shown."""
        comparison = tab.counted
        if comparison is not None and comparison.measurable and not comparison.measured:
            progress = with_estimate(texts.READING, texts.UNIT_CAPTIONS)
            answering.measure(self.context.engine(tab), tab, self.context.sources, progress, lambda: tab.closed)
        return self._counted(tab)

    def _counted(self, tab: Tab) -> Updates:
        if (comparison := tab.counted) is None or not comparison.measurable:
            return {self.recall: ""}
        return {self.recall: results_html.recalls(comparison) if comparison.measured else results_html.counting(comparison)}

    def _mark(self, tab: Tab, event: gr.SelectData, controls: Controls) -> Updates:
        """Mark a photo as right or wrong. The browser shows the thumb itself."""
        if isinstance(event.index, str):
            with tab.turn:
                answering.mark(tab, event.index, event.value == "up")
        return self.context.show(tab, controls, Part.NAMES) | {self.marked: results_html.marked(tab.comparison, tab.marks)}

    def show(self, tab: Tab, controls: Controls) -> Updates:
        """Show the last comparison, and the commands for the same search."""
        top, comparison = tab.top, tab.comparison
        lines = _commands(tab, top, self.context.models.options(tab.visitor.backbone))
        if comparison is None:
            answer = self._waiting(tab, controls)[self.answered]
        else:
            marks = tab.marks.get(comparison.asked, {})
            files, remark = tab.visitor.files, self._remark(tab, comparison)
            answer = results_html.comparison(comparison, files, top, controls.zero_shot, marks, remark)
        filtered = controls.folder or controls.since or controls.until  # a filter that leaves no photo can be changed
        more = comparison is not None and any(len(column.ranking.hits) > top for column in comparison.columns)
        return self._counted(tab) | {
            self.options: gr.Row(visible=bool(comparison or tab.adaptation or filtered)),
            self.answered: answer,
            self.more_of_them: gr.Button(visible=more and top < MOST_SHOWN),
            self.marked: results_html.marked(comparison, tab.marks),
            self.commands: gr.Textbox(value=lines, visible=bool(lines)),
        }

    def _remark(self, tab: Tab, comparison: Comparison) -> str:
        """A notice if the model does not know the question's language, or most of its words; else ""."""
        if comparison.asked.kind != "words":
            return ""
        question, engine = comparison.asked.what, self.context.engine(tab)
        if (remark := language_remark(question, engine.backbone.languages)) is not None:
            return texts.of(remark)
        unknown = unknown_words(question, engine.backbone.words)
        if not unknown or language() not in TRAINED or tab.visitor.names(engine).within(question):
            return ""
        return texts.UNKNOWN_WORDS.format(words=", ".join(unknown))

    def _waiting(self, tab: Tab, controls: Controls) -> Updates:
        """Show the first photos until a question is asked."""
        if tab.comparison is not None:
            return {}
        (photos, files), library = self.context.photos(tab, controls), self.context.library(tab, controls)
        none_left = tab.asked.question is not None and tab.asked.question.scope.filters
        return {self.answered: results_html.waiting(photos, files, library, none_left, tab.visitor.adding)}


def _commands(tab: Tab, top: int, models: Sequence[str]) -> str:
    """The commands for the same search in a folder with these photos and, with captions, for recall."""
    request, comparison = tab.asked.request, tab.comparison
    if comparison is None or request is None or tab.adaptation is None or comparison.asked.kind == "similar":
        return ""
    asked, names = comparison.asked, bool(tab.visitor.taught)
    lines = [search_command(request, asked.what if asked.kind == "words" else None, top, asked.scope, models, names)]
    if comparison.measurable:
        lines.append(evaluate_command(request, models))
    return "\n".join(lines)
