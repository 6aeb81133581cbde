"""The expert library."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import texts, views
from app.errors import friendly
from app.session import Session
from app.steps.base import LIGHT, Step, Updates, private


class Library(Step):
    def layout(self) -> None:
        self.lead = gr.HTML(views.note(texts.LOADING))
        self.find = gr.Textbox(label=texts.EXPERTS_FIND, placeholder=texts.EXPERTS_FIND_HINT, elem_id="find-expert")
        self.table = gr.Dataframe(
            headers=list(texts.EXPERTS_HEADERS),
            label=texts.EXPERTS_LABEL,
            datatype=["str"] * 4 + ["number"] * 5,
            interactive=False,
            wrap=True,
            max_height=640,
            buttons=[],
            elem_id="experts",
        )

    @property
    def shown(self) -> list[Any]:
        return [self.lead, self.table]

    def wire(self) -> None:
        self.find.change(
            self._find, [self.studio.session, self.find], self.table, trigger_mode="always_last", **private(LIGHT, 2, "hidden")
        )

    def opened(self, session: Session) -> Updates:
        repository = self.engine(session).repository
        return {
            self.lead: views.note(texts.EXPERTS_LEAD.format(rank=repository.layout.rank)),
            self.table: views.expert_rows(repository.experts),
        }

    @friendly
    def _find(self, session: Session, words: str) -> list[list[object]]:
        return views.expert_rows(self.engine(session).repository.experts, words)
