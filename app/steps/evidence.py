"""The evidence tab: the results that ship with the studio."""

from __future__ import annotations

import gradio as gr

from app import texts, views
from app.evidence import available, exhibits
from app.steps.base import Step


class Evidence(Step):
    """Made once, when the app starts; nothing in it changes."""

    def layout(self) -> None:
        gr.HTML(views.note(texts.EVIDENCE_LEAD))
        for number, exhibit in enumerate(exhibits()):
            gr.HTML(views.exhibit(exhibit))
            if exhibit.table:
                with gr.Accordion(texts.EVIDENCE_TABLE, open=not exhibit.plot, elem_id=f"evidence-{number}"):
                    gr.HTML(exhibit.table)

    def wire(self) -> None:
        pass


def has_evidence() -> bool:
    """Whether there is anything to show."""
    return bool(available())
