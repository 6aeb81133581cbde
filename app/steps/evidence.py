"""The evidence tab: the results that ship with the studio."""

from __future__ import annotations

import gradio as gr

from app import texts
from app.steps.step import Step
from app.views import page_html
from app.views.evidence import exhibits


class Evidence(Step):
    """Made once, when the app starts; nothing in it changes."""

    def layout(self) -> None:
        gr.HTML(page_html.note(texts.EVIDENCE_LEAD))
        for number, exhibit in enumerate(exhibits()):
            gr.HTML(page_html.exhibit(exhibit))
            if exhibit.table:
                with gr.Accordion(texts.EVIDENCE_TABLE, open=not exhibit.plot, elem_id=f"evidence-{number}"):
                    gr.HTML(exhibit.table)

    def wire(self) -> None:
        pass


def has_evidence() -> bool:
    """Whether there is anything to show."""
    return bool(exhibits())
