"""The results: one question, answered with and without the adapter."""

from dataclasses import replace
from typing import Any

import gradio as gr

from app.actions import answering
from app.actions.teaching import that_taught
from app.answers.commands import evaluate_command, search_command
from app.answers.comparison import Comparison
from app.answers.question import Question
from app.calls import SEARCH, SECONDS_SHOWN
from app.languages import language, texts
from app.page.step import Step, checkbox, copied, small, textbox, with_estimate
from app.page.view import FILTERS, Event, Now, Same, Updates
from app.page.views import results_html
from core.backbones.trained_words import unknown_words
from core.common.errors import StudioError
from core.common.languages import language_remark
from core.data.sample_photos import sample_sets

EXAMPLE_DAY = "2024-05-31"
MORE, MOST_SHOWN = 48, 300  # results that a click adds, and most results shown
TRAINED = ("en", "de", "fr")  # page languages that trained the model: only these have a notice about unknown words


class Compare(Step):
    def layout(self) -> None:
        """Lay out what is counted over all captions. ``options`` and ``results`` come below."""
        counting = self.t.html("NOT_COUNTED", lambda: results_html.counting(texts.LOADING))
        with gr.Row(equal_height=False, elem_classes="sg-verdicts"):
            self.recall = self.part("recall", counting if self.context.opens_on_samples else "")

    def options(self) -> None:
        with gr.Row(equal_height=True, elem_classes="sg-options", elem_id="options") as options:
            self.zero_shot = checkbox("with-zero-shot", self.t("WITH_ZERO_SHOT"), True, 160, scale=0)
            # A link may name a folder before the folders are known.
            shown: dict[str, Any] = {"choices": [(self.t("FOLDER_ALL"), "")], "value": "", "allow_custom_value": True}
            self.folder = gr.Dropdown(label=self.t("FOLDER"), scale=0, min_width=110, visible=False, elem_id="folder", **shown)
            self.since = textbox("since", self.t("SINCE"), EXAMPLE_DAY, scale=0, min_width=110)
            self.until = textbox("until", self.t("UNTIL"), EXAMPLE_DAY, scale=0, min_width=110)
        self.sight(options, self._has_options, at_first=self.context.opens_on_samples)
        for day in (self.since, self.until):
            self.sight(day, _dated)
        filters = {"folder": self.folder, "since": self.since, "until": self.until}
        self.context.controls |= {"zero_shot": self.zero_shot, **filters}

    def marks(self) -> None:
        self.marked = self.part("marked")

    def results(self) -> None:
        self.results_shown = self.part("results", "", "results")
        self.reports("original", scripted="original", visible="hidden")
        self.more_of_them = small(self.t("SHOW_MORE"), "show-more")
        self.sight(self.more_of_them, self._has_more)
        self.context.answer = self.results_shown

    def more(self) -> None:
        with gr.Row():
            self.merge = checkbox("with-merge", texts.WITH_MERGE, False, 200)
            self.random = checkbox("with-random", texts.WITH_RANDOM, self.context.opens_on_samples, 200)
        self.context.controls |= {"merge": self.merge, "random": self.random}
        label, info = texts.SEARCH_COMMAND_LABEL, texts.SEARCH_COMMAND_INFO
        self.commands = copied("search-command", label, info=info, lines=2, max_lines=6)
        text = self._commands
        self.shows(self.results_shown, self._answer, self._answered, at_once=True)
        self.shows(self.marked, self._marked, lambda now: (Same(now.tab.comparison), dict(now.tab.marks)))
        self.shows(self.recall, self._recall, lambda now: (Same(now.tab.counted), now.controls.zero_shot))
        self.shows(self.commands, lambda now: gr.Textbox(text(now), visible=bool(text(now))), text)
        self.shows(self.folder, self._choices, _folders)

    def wire(self) -> None:
        beside, filters = ["merge", "random"], (self.since, self.until)
        self.asks(self.zero_shot.input, self._compare, sets=beside)
        self.asks([self.merge.input, self.random.input], self._rank_again, sets=["zero_shot"])
        self.asks(
            [self.folder.input, *(event for day in filters for event in (day.submit, day.blur))], self._filter, sets=FILTERS
        )
        self.on(self.more_of_them.click, self._more)
        # The box is emptied, for this question has no words.
        self.asks(self.results_shown.similar, self._similar, sets=["query", "where"], trigger_mode="multiple")
        self.on(self.results_shown.original, self._original, trigger_mode="multiple")
        # Marks may come faster than they are counted. None is left out.
        self.on(self.results_shown.mark, self._mark, trigger_mode="multiple")
        # The page first shows that recall is being counted. Then the browser asks to count it.
        shown = {"shown_on": self.recall, "group": SEARCH, "trigger_mode": "always_last"}
        self.on(self.context.drawn.count, self._measure, waits=True, opening=True, **shown)

    # What a visitor does

    def _compare(self, event: Event) -> Updates:
        """With comparisons, samples are compared with a random sentence, too. Without it, with nothing."""
        wanted = bool(event.controls.zero_shot)
        random, merge = wanted and event.controls.where in sample_sets(), wanted and bool(event.controls.merge)
        return self._columns(event, random=random, merge=merge)

    def _rank_again(self, event: Event) -> Updates:
        shown = bool(event.controls.zero_shot or event.controls.merge or event.controls.random)
        return self._columns(event, zero_shot=shown)

    def _columns(self, event: Event, **values: bool) -> Updates:
        controls = event.controls._replace(**values)
        asked = replace(event.tab.asked, merge=bool(controls.merge), random=bool(controls.random))
        answering.answer_again(event.engine, event.tab, asked)
        return values

    def _filter(self, event: Event) -> Updates:
        """Ask again with these filters. Those that are invalid, or leave no photo, go back to the last ones, with a message."""
        question = event.tab.asked.question
        if question is None or question.kind == "photo":
            event.controls.asked(None)  # raises if a day is invalid
            return {}
        try:
            event.controls.asked(None)
            scope = event.controls._replace(where=question.scope.value).scope
            return {} if question.scope == scope else self.answer(event, replace(question, scope=scope))
        except StudioError as error:
            gr.Warning(texts.of(error), duration=SECONDS_SHOWN)
            return {name: str(getattr(question.scope, name) or "") for name in FILTERS}

    def _more(self, event: Event) -> None:
        event.tab.more += MORE

    def _similar(self, event: Event) -> Updates:
        shown = event.tab.comparison  # search where the photo was found, whatever is chosen now
        controls = event.controls if shown is None else event.controls._replace(where=shown.asked.scope.value)
        question = Question("similar", str(event.data.get("key")), scope=controls.scope)
        return self.answer(event, question, query="", where=controls.where)

    def _original(self, event: Event) -> None:
        """Let the browser read the file of an enlarged photo of a library. Without it, its thumbnail stays."""
        tab, key = event.tab, str(event.data.get("key"))
        path = None if tab.comparison is None else tab.comparison.file(key)
        if path is not None and path.is_file():
            tab.reports["original"] = f"{key} {results_html.address(tab.visitor.files.borrow(path))}"

    def _mark(self, event: Event) -> None:
        """Mark a photo as right or wrong. The browser shows the thumb itself."""
        if isinstance(key := event.data.get("key"), str):
            answering.mark(event.tab, key, event.data.get("value") == "up")

    def _measure(self, event: Event) -> None:
        answering.measure(event.engine, event.tab, with_estimate(texts.READING, texts.UNIT_CAPTIONS))

    # What the page shows

    def _has_options(self, now: Now) -> object:
        """A filter that leaves no photo can be changed."""
        return now.tab.comparison or now.tab.adaptation or now.controls.folder or now.controls.since or now.controls.until

    def _has_more(self, now: Now) -> bool:
        comparison, top = now.tab.comparison, now.tab.top
        more = comparison is not None and any(len(column.ranking.hits) > top for column in comparison.columns)
        return more and top < MOST_SHOWN

    def _answered(self, now: Now) -> object:
        if (comparison := now.tab.comparison) is not None:
            rankings = [(column.title, column.note, Same(column.ranking)) for column in comparison.columns]
            return rankings, comparison.asked, comparison.right, comparison.names, now.tab.top, now.controls.zero_shot
        filtered = now.tab.asked.question is not None and now.tab.asked.question.scope.filters
        return now.visitor.photos[: results_html.WAITING], now.visitor.adding, filtered, now.controls.where

    def _answer(self, now: Now) -> str:
        """The last comparison; until a question is asked, the first photos."""
        comparison = now.tab.comparison
        if comparison is not None:
            marks, remark = now.visitor.marks.get(comparison.asked, {}), _remark(now, comparison)
            return results_html.comparison(comparison, now.tab.top, now.controls.zero_shot, marks, remark)
        none_left = now.tab.asked.question is not None and now.tab.asked.question.scope.filters
        return results_html.waiting(now.photos, now.files, now.library, none_left, now.visitor.adding)

    def _marked(self, now: Now) -> str:
        taught = that_taught(now.engine, now.tab)
        return results_html.marked(now.tab.comparison, {photo for photo, right in now.tab.marks.items() if right} - taught)

    def _recall(self, now: Now) -> str:
        if (comparison := now.tab.counted) is None or not comparison.measurable:
            return ""
        if not comparison.measured:
            return results_html.counting(texts.COUNTING.format(n=comparison.captions))
        return results_html.recalls(comparison, bool(now.controls.zero_shot))

    def _commands(self, now: Now) -> str:
        """The commands for the same search in a folder with these photos and, with captions, for recall."""
        request, comparison, models = now.tab.asked.request, now.tab.comparison, now.models.options(now.visitor.backbone)
        if comparison is None or request is None or now.tab.adaptation is None or comparison.asked.kind == "similar":
            return ""
        lines = [search_command(request, comparison.asked, now.tab.top, models, bool(now.visitor.taught))]
        if comparison.measurable:
            lines.append(evaluate_command(request, models))
        return "\n".join(lines)

    def _choices(self, now: Now) -> gr.Dropdown:
        folders, chosen = _folders(now)
        choices = [(texts.FOLDER_ALL, ""), *((name, name) for name in folders)]
        return gr.Dropdown(choices, value=chosen, visible=len(folders) > 1 or bool(chosen))


def _folders(now: Now) -> tuple[tuple[str, ...], str]:
    """The folders that tell the last answer's photos apart, and that of the question: the box may not have it yet."""
    folders = () if now.tab.comparison is None else now.tab.comparison.folders
    return folders, "" if now.tab.asked.question is None else now.tab.asked.question.scope.folder


def _dated(now: Now) -> bool:
    """Whether days tell the last answer's photos apart, or the visitor has chosen some."""
    comparison, controls = now.tab.comparison, now.controls
    return bool(controls.since or controls.until) or (comparison is not None and comparison.several_days)


def _remark(now: Now, comparison: Comparison) -> str:
    """A notice if the model does not know the question's language, or most of its words; else ""."""
    if comparison.asked.kind != "words":
        return ""
    question, engine = comparison.asked.what, now.engine
    if (remark := language_remark(question, engine.backbone.languages)) is not None:
        return texts.of(remark)
    unknown = unknown_words(question, engine.backbone.words)
    if not unknown or language() not in TRAINED or now.visitor.names(engine).within(question):
        return ""
    return texts.UNKNOWN_WORDS.format(words=", ".join(unknown))
