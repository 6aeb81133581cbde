"""Step 4: one question, answered side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app import actions, texts
from app.cli_snippets import evaluate_command, search_command
from app.errors import friendly
from app.steps.context import DEFAULT_TOP, TOPS, Controls, Part, Updates
from app.steps.step import LIGHT, SEARCH, SEARCHES, Step, by_column, chosen, private
from app.views import page_html
from app.visitors.session import Session
from core.sglora.engine import SGLora


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
        self.context.controls |= {"only_changed": self.only_changed, "top": self.top}
        self.context.query, self.context.picked = self.query, self.pick
        self.context.shows(Part.RESULTS, [self.answer, self.commands, self.history], self.show)
        self.context.shows(Part.PHOTOS, [self.pick], self._choices)

    def wire(self) -> None:
        context = self.context
        asked, outputs = [context.session, *context.inputs], context.outputs(Part.ROUTING, Part.ADAPTER, Part.RESULTS)
        heavy = {"show_progress_on": self.answer, **private(SEARCH, SEARCHES)}
        gr.on([self.search.click, self.query.submit], self._search, [self.query, *asked], outputs, **heavy)
        self.find.click(self._find, [self.pick, self.other, *asked], outputs, **heavy)
        gr.on(
            [self.only_changed.change, self.top.change],
            self._show_again,
            asked,
            context.outputs(Part.RESULTS),
            **private(LIGHT, 2, "hidden"),
        )
        self.history.click(
            self._recall,
            [context.session, self.history],
            [self.query, context.controls["description"]],
            **private(LIGHT, 2, "hidden"),
        )

    @friendly
    def _search(self, query: str, session: Session, progress: gr.Progress = gr.Progress(), *values: Any) -> Updates:
        engine = self._adapted(session, Controls(*values))
        actions.compare_words(engine, session, query, by_column(progress, len(session.album.photos)))
        return self.context.show(session, Controls(*values), Part.ROUTING, Part.ADAPTER, Part.RESULTS)

    @friendly
    def _find(
        self, picked: str | None, other: str | None, session: Session, progress: gr.Progress = gr.Progress(), *values: Any
    ) -> Updates:
        engine = self._adapted(session, Controls(*values))
        actions.compare_photo(engine, session, picked, other, by_column(progress, len(session.album.photos)))
        return self.context.show(session, Controls(*values), Part.ROUTING, Part.ADAPTER, Part.RESULTS)

    def _adapted(self, session: Session, controls: Controls) -> SGLora:
        """The engine, after the adapter that the controls ask for was made."""
        engine = self.context.engine(session)
        actions.generate(engine, session, actions.page_settings(*controls.adapter))
        return engine

    @friendly
    def _show_again(self, session: Session, *values: Any) -> Updates:
        return self.context.show(session, Controls(*values), Part.RESULTS)

    def show(self, session: Session, controls: Controls) -> Updates:
        """The last comparison, and what was asked before."""
        asked = [[texts.ASKED_BEFORE.format(query=query, task=task)] for query, task in session.history]
        top = int(controls.top or DEFAULT_TOP)
        lines = _commands(session, top, self.context.models.options(session.album.backbone))
        if session.comparison is None:
            answer = page_html.note(texts.COMPARE_EMPTY)
        else:
            album = session.album
            photos = {p.id: p for p in album.photos}
            answer = page_html.comparison(session.comparison, photos, album.picture, top, controls.only_changed)
        return {
            self.answer: answer,
            self.commands: gr.Textbox(value=lines, visible=bool(lines)),
            self.history: gr.Dataset(samples=asked, visible=bool(asked)),
        }

    def _choices(self, session: Session, _: Controls) -> Updates:
        return {self.pick: gr.Dropdown(choices=[(p.name, p.id) for p in session.album.photos], value=None)}

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
