"""The results: one question, answered with and without the adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from app import actions, texts
from app.api import SEARCH
from app.cli_snippets import evaluate_command, search_command
from app.errors import friendly
from app.steps.context import DEFAULT_TOP, TOPS, Controls, Part, Updates
from app.steps.step import ANSWER, Step, by_caption, by_column, in_turn, private
from app.views import results_html
from app.views.results_html import Shown
from app.visitors.session import Comparison, Question, Session
from core.sglora.description import known_languages, language_remark

MORE, MOST_SHOWN = 48, 300  # results that a click adds, and that it ends at
SCRIPT = Path(results_html.__file__).with_name("results.js").read_text()


class Compare(Step):
    def layout(self) -> None:
        """The options stand beside those of the adapter; ``results`` comes below."""
        self.only_changed = gr.Checkbox(
            False, label=texts.ONLY_CHANGED, container=False, min_width=130, scale=0, elem_id="only-changed"
        )
        self.zero_shot = gr.Checkbox(
            True, label=texts.WITH_ZERO_SHOT, container=False, min_width=160, scale=0, elem_id="with-zero-shot"
        )
        self.top = gr.Dropdown(
            TOPS, value=DEFAULT_TOP, label=texts.TOP_LABEL, filterable=False, scale=0, min_width=110, elem_id="top"
        )
        self.context.controls |= {"only_changed": self.only_changed, "zero_shot": self.zero_shot, "top": self.top}

    def results(self) -> None:
        """The answer itself."""
        self.answered = gr.HTML(js_on_load=SCRIPT, elem_id="results")
        self.more_of_them = gr.Button(texts.SHOW_MORE, visible=False, elem_id="show-more")
        self.marked = gr.HTML(elem_id="marked")
        self.recall = gr.HTML(elem_id="recall")
        self.context.answer = self.answered

    def more(self) -> None:
        self.merge = gr.Checkbox(False, label=texts.WITH_MERGE, container=False, elem_id="with-merge")
        self.context.controls["merge"] = self.merge
        self.commands = gr.Textbox(
            label=texts.SEARCH_COMMAND_LABEL,
            info=texts.SEARCH_COMMAND_INFO,
            interactive=False,
            buttons=["copy"],
            lines=2,
            max_lines=6,
            visible=False,
            elem_id="search-command",
        )
        self.context.shows(
            Part.RESULTS, [self.context.options, self.answered, self.more_of_them, self.marked, self.commands], self.show
        )
        self.context.shows(Part.PHOTOS, [self.answered], self._waiting)

    def wire(self) -> None:
        self.on([self.only_changed.change, self.zero_shot.change, self.top.change], self._show_again, parts=[Part.RESULTS])
        self.on(self.merge.change, self._rank_again, parts=ANSWER, shown_on=self.answered, group=SEARCH)
        self.on(self.more_of_them.click, self._more, parts=[Part.RESULTS])
        # Of the enlarged photo; the box is emptied, for this question has no words.
        self.on(self.answered.like, self._similar, (), [self.context.query], ANSWER, self.answered, SEARCH)
        session, measured = self.context.session, private(SEARCH, self.recall)
        self.answered.change(self._measure, session, self.recall, trigger_mode="always_last", **measured)
        marked = [*self.context.outputs(Part.NAMES), self.marked]
        self.answered.select(self._mark, session, marked, **private())

    @friendly
    @in_turn
    def _show_again(self, session: Session, *values: Any) -> Updates:
        return self.context.show(session, Controls(*values), Part.RESULTS)

    @friendly
    @in_turn
    def _more(self, session: Session, *values: Any) -> Updates:
        controls = Controls(*values)
        session.more += min(MORE, MOST_SHOWN - int(controls.top) - session.more)
        return self.context.show(session, controls, Part.RESULTS)

    @friendly
    @in_turn
    def _similar(self, session: Session, event: gr.SelectData, progress: gr.Progress = gr.Progress(), *values: Any) -> Updates:
        controls, last = Controls(*values), session.comparison
        if last is not None:  # among the photos that it was found in, whatever is chosen meanwhile
            controls = controls._replace(where=last.asked.within.value)
        return self.answer(session, Question.similar(str(event.index)), controls, progress) | {self.context.query: ""}

    @friendly
    @in_turn
    def _rank_again(self, session: Session, progress: gr.Progress = gr.Progress(), *values: Any) -> Updates:
        controls, ranking = Controls(*values), by_column(progress, len(session.album.photos))
        self.context.ask_again(session, ranking, controls.merge)
        return self.context.show(session, controls, *ANSWER)

    @friendly
    def _measure(self, session: Session, progress: gr.Progress = gr.Progress()) -> str:
        """What is counted over all captions, once the answer is there."""
        if session.comparison is None:
            return ""
        return results_html.recalls(actions.measure(self.context.engine(session), session, by_caption(progress)))

    @friendly
    def _mark(self, session: Session, event: gr.SelectData) -> Updates:
        """A thumb went up or down; the page shows which one itself."""
        if isinstance(event.index, str):
            actions.mark(self.context.engine(session), session, event.index, event.value == "up", self.context.libraries)
        return self.context.show(session, Controls(), Part.NAMES) | {self.marked: results_html.marked(session.marked)}

    def show(self, session: Session, controls: Controls) -> Updates:
        """The last comparison, and how to ask the same on the command line."""
        top, album, comparison = int(controls.top or DEFAULT_TOP) + session.more, session.album, session.comparison
        lines = _commands(session, top, self.context.models.options(album.backbone))
        if comparison is None:
            answer = results_html.waiting(album)
        else:
            marks = session.marks.get(comparison.asked, {})
            sentence = "" if session.adaptation is None else session.adaptation.routing.description
            shown = Shown(top, controls.only_changed, controls.zero_shot)
            answer = results_html.comparison(comparison, album, shown, marks, sentence, self._remark(session, comparison))
        return {
            self.context.options: gr.Row(visible=comparison is not None or session.adaptation is not None),
            self.answered: answer,
            self.more_of_them: gr.Button(visible=comparison is not None and _longest(comparison) > top and top < MOST_SHOWN),
            self.marked: results_html.marked(session.marked),
            self.commands: gr.Textbox(value=lines, visible=bool(lines)),
        }

    def _remark(self, session: Session, comparison: Comparison) -> str:
        """Whether the model does not know the question's language."""
        remark = None
        if comparison.asked.kind == "words":
            remark = language_remark(comparison.asked.what, known_languages(self.context.engine(session).backbone))
        return "" if remark is None else remark.text

    def _waiting(self, session: Session, _: Controls) -> Updates:
        """The first photos, until something is asked of them."""
        return {} if session.comparison is not None else {self.answered: results_html.waiting(session.album)}


def _longest(comparison: Comparison) -> int:
    return max(len(column.ranking.hits) for column in comparison.columns)


def _commands(session: Session, top: int, models: Sequence[str]) -> str:
    """The lines that ask the same, and with captions measure the same, of a folder with these photos."""
    if session.comparison is None or session.request is None or session.comparison.asked.kind == "similar":
        return ""
    asked = session.comparison.asked
    lines = [search_command(session.request, asked.what if asked.kind == "words" else None, top, models)]
    if session.comparison.measurable:
        lines.append(evaluate_command(session.request, models))
    return "\n".join(lines)
