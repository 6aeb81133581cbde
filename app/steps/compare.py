"""Step 4: one question, answered side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app import actions, texts
from app.cli_snippets import evaluate_command, search_command
from app.errors import friendly
from app.steps.step import LIGHT, SEARCH, SEARCHES, Step, Updates, by_column, chosen, private
from app.views import page_html
from app.visitors.session import Session

TOPS = (5, 10, 20, 50)
DEFAULT_TOP = 10


class Compare(Step):
    def layout(self) -> None:
        gr.HTML(page_html.step(4, texts.COMPARE, texts.COMPARE_LEAD))
        with gr.Tabs():
            with gr.Tab(texts.WORDS_TAB), gr.Row(equal_height=False, elem_classes="sg-ask"):
                self.query = gr.Textbox(
                    label=texts.QUERY_LABEL, placeholder=texts.QUERY_PLACEHOLDER, scale=4, min_width=240, elem_id="query"
                )
                self.search = gr.Button(texts.SEARCH, variant="primary", scale=1, min_width=120, elem_id="search")
            with gr.Tab(texts.PHOTO_TAB), gr.Row(equal_height=False, elem_classes="sg-ask"):
                self.pick = gr.Dropdown(label=texts.PICK_LABEL, choices=[], scale=2, min_width=240, elem_id="pick")
                self.other = gr.File(label=texts.OTHER_PHOTO, height=120, scale=2, min_width=240, elem_id="other")
                self.find = gr.Button(texts.DESCRIBE_PHOTO, variant="primary", scale=1, min_width=120, elem_id="find")
        with gr.Row(elem_classes="sg-options"):
            self.only_changed = gr.Checkbox(
                False, label=texts.ONLY_CHANGED, container=False, min_width=160, elem_id="only-changed"
            )
            self.top = gr.Radio(TOPS, value=DEFAULT_TOP, label=texts.TOP_LABEL, min_width=240, elem_id="top")
        self.answer = gr.HTML(page_html.note(texts.COMPARE_EMPTY), elem_id="results")
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
        self.history = gr.Dataset(
            label=texts.HISTORY, components=[self.query], samples=[], type="index", visible=False, elem_id="history"
        )
        self.view = [self.only_changed, self.top]
        self.shown = [self.answer, self.commands, self.history]

    def wire(self) -> None:
        generate, session = self.studio.generate, self.studio.session
        outputs = [*generate.made, *self.shown]
        heavy = {"show_progress_on": self.answer, **private(SEARCH, SEARCHES)}
        gr.on(
            [self.search.click, self.query.submit],
            self._search,
            [session, *generate.controls, self.query, *self.view],
            outputs,
            **heavy,
        )
        self.find.click(self._find, [session, *generate.controls, self.pick, self.other, *self.view], outputs, **heavy)
        gr.on(
            [self.only_changed.change, self.top.change],
            self._show_again,
            [session, *self.view],
            [self.answer],
            **private(LIGHT, 2, "hidden"),
        )
        asked = [self.query, self.studio.describe.description]
        self.history.click(self._recall, [session, self.history], asked, **private(LIGHT, 2, "hidden"))

    @friendly
    def _search(self, session: Session, progress: gr.Progress = gr.Progress(), *values: Any) -> Updates:
        *controls, query, only_changed, top = values
        engine = self.engine(session)
        updates = self.studio.generate.adapter(engine, session, *controls)
        actions.compare_words(engine, session, query, by_column(progress, len(session.album.photos)))
        return updates | self.results(session, only_changed, top)

    @friendly
    def _find(self, session: Session, progress: gr.Progress = gr.Progress(), *values: Any) -> Updates:
        *controls, picked, other, only_changed, top = values
        engine = self.engine(session)
        updates = self.studio.generate.adapter(engine, session, *controls)
        actions.compare_photo(engine, session, picked, other, by_column(progress, len(session.album.photos)))
        return updates | self.results(session, only_changed, top)

    def results(self, session: Session, only_changed: bool, top: int) -> Updates:
        """Show the last comparison and the history."""
        asked = [[texts.ASKED_BEFORE.format(query=query, task=task)] for query, task in session.history]
        shown = gr.Dataset(samples=asked, visible=bool(asked))
        lines = _commands(session, int(top or DEFAULT_TOP), self.studio.models.options(session.album.backbone))
        return {
            self.answer: self._show_again(session, only_changed, top),
            self.commands: gr.Textbox(value=lines, visible=bool(lines)),
            self.history: shown,
        }

    def _show_again(self, session: Session, only_changed: bool, top: int) -> str:
        if session.comparison is None:
            return page_html.note(texts.COMPARE_EMPTY)
        photos = {p.id: p for p in session.album.photos}
        return page_html.comparison(session.comparison, photos, session.album.picture, int(top or DEFAULT_TOP), only_changed)

    @friendly
    def _recall(self, session: Session, index: int) -> tuple[str, str]:
        return chosen(session.history, index)


def _commands(session: Session, top: int, models: Sequence[str]) -> str:
    """The lines that ask the same, and with captions measure the same, of a folder with these photos."""
    if session.comparison is None or session.comparison.asked is None or session.settings is None:
        return ""
    kind, what = session.comparison.asked
    lines = [search_command(session.settings, what if kind == "words" else None, top, models)]
    if session.comparison.columns[0].hits:
        lines.append(evaluate_command(session.settings, models))
    return "\n".join(lines)
