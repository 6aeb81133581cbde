"""The evidence tab: the results that ship with the studio."""

from __future__ import annotations

import gradio as gr

from app.steps.step import Step
from app.views.evidence import exhibits, page


class Evidence(Step):
    """Made once, when the app starts; nothing in it changes."""

    def layout(self) -> None:
        gr.HTML(page(exhibits()))

    def wire(self) -> None:
        pass


def has_evidence() -> bool:
    """Whether there is anything to show."""
    return bool(exhibits())
