"""The question: in words, or a photo whose words are looked for."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import actions, texts
from app.errors import friendly
from app.steps.context import Controls, Part, Updates
from app.steps.step import ANSWER, LIGHT, SEARCH, SEARCHES, Step, by_column, chosen, in_turn, private
from app.visitors.session import LISTED, Session


class Ask(Step):
    def layout(self) -> None:
        with gr.Tabs():
            with gr.Tab(texts.WORDS_TAB), gr.Row(equal_height=False, elem_classes="sg-ask"):
                self.query = gr.Textbox(
                    label=texts.QUERY_LABEL,
                    placeholder=texts.QUERY_PLACEHOLDER,
                    max_lines=1,
                    scale=4,
                    min_width=200,
                    elem_id="query",
                )
                self.search = gr.Button(texts.SEARCH, variant="primary", scale=1, min_width=100, elem_id="search")
            with gr.Tab(texts.PHOTO_TAB), gr.Row(equal_height=False, elem_classes="sg-ask"):
                self.pick = gr.Dropdown(label=texts.PICK_LABEL, choices=[], scale=2, min_width=180, elem_id="pick")
                self.other = gr.File(label=texts.OTHER_PHOTO, height=90, scale=2, min_width=180, elem_id="other")
                self.find = gr.Button(texts.DESCRIBE_PHOTO, variant="primary", scale=1, min_width=100, elem_id="find")
        self.context.query, self.context.picked = self.query, self.pick
        self.context.shows(Part.PHOTOS, [self.pick], self._choices)

    def more(self) -> None:
        self.history = gr.Dataset(
            label=texts.HISTORY, components=[self.query], samples=[], type="index", visible=False, elem_id="history"
        )
        self.context.shows(Part.RESULTS, [self.history], self._asked)

    def wire(self) -> None:
        context = self.context
        asked, outputs = [context.session, *context.inputs], context.outputs(*ANSWER)
        heavy = {"show_progress_on": context.answer, **private(SEARCH, SEARCHES)}
        gr.on([self.search.click, self.query.submit], self._search, [self.query, *asked], outputs, **heavy)
        self.find.click(self._find, [self.pick, self.other, *asked], outputs, **heavy)
        again = [self.query, context.controls["description"], *outputs]
        self.history.click(self._again, [self.history, *asked], again, **heavy)
        # One photo is asked about: the last one that was chosen.
        self.other.upload(lambda: None, None, self.pick, **private(LIGHT, 2, "hidden"))
        self.pick.input(lambda: None, None, self.other, **private(LIGHT, 2, "hidden"))

    @friendly
    @in_turn
    def _search(self, query: str, session: Session, progress: gr.Progress = gr.Progress(), *values: Any) -> Updates:
        return self.answer(session, query, Controls(*values), progress)

    @friendly
    @in_turn
    def _find(
        self, picked: str | None, other: str | None, session: Session, progress: gr.Progress = gr.Progress(), *values: Any
    ) -> Updates:
        controls, engine = Controls(*values), self.context.engine(session)
        actions.adapt_to(engine, session, controls.adapter)
        progress_by_column = by_column(progress, len(session.album.photos))
        actions.compare_photo(engine, session, picked, other, progress_by_column, controls.merge)
        return self.context.show(session, controls, *ANSWER)

    @friendly
    @in_turn
    def _again(self, index: int, session: Session, progress: gr.Progress = gr.Progress(), *values: Any) -> Updates:
        query, description = chosen(session.history, index)
        controls = Controls(*values)._replace(description=description)
        updates = self.answer(session, query, controls, progress)
        return updates | {self.query: query, self.context.controls["description"]: description}

    def _choices(self, session: Session, _: Controls) -> Updates:
        return {self.pick: gr.Dropdown(choices=[(p.name, p.id) for p in session.album.photos[:LISTED]], value=None)}

    def _asked(self, session: Session, _: Controls) -> Updates:
        pairs = [(texts.ASKED_BEFORE if task else "{query}").format(query=query, task=task) for query, task in session.history]
        return {self.history: gr.Dataset(samples=[[pair] for pair in pairs], visible=bool(pairs))}
