"""The evidence tab: the results that ship with the studio."""

from __future__ import annotations

from functools import cache

import gradio as gr

from app.steps.step import Step
from app.views.evidence import Exhibit, exhibits, page


class Evidence(Step):
    """Made once, when the app starts; nothing in it changes."""

    def layout(self) -> None:
        gr.HTML(page(_exhibits()))

    def wire(self) -> None:
        pass


def has_evidence() -> bool:
    """Whether there is anything to show."""
    return bool(_exhibits())


@cache
def _exhibits() -> list[Exhibit]:
    """Read once: the page is laid out in every language."""
    return exhibits()
