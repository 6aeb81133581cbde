"""What a step is, and the options of events that all steps share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import gradio as gr

from app import texts
from app.api import HEAVY, LIGHT, SEARCH, SEARCHES
from app.steps.context import StepContext
from core.common.errors import StudioError

__all__ = ["HEAVY", "LIGHT", "SEARCH", "SEARCHES", "Step", "by_column", "by_photo", "chosen", "private"]

Thing = TypeVar("Thing")


class Step:
    """A part of the page. It is shared by all visitors and holds no state of theirs.

    ``layout`` makes the components, in the order of the page; ``wire`` says what they do, once all steps are laid out.
    """

    def __init__(self, context: StepContext) -> None:
        self.context = context
        self.layout()

    def layout(self) -> None:
        raise NotImplementedError

    def wire(self) -> None:
        raise NotImplementedError


def chosen(things: Sequence[Thing], index: object) -> Thing:
    """The one that was clicked.

    Raises:
        StudioError: there is none at that place: it went meanwhile, or the index is made up.
    """
    if type(index) is not int or not 0 <= index < len(things):
        raise StudioError(texts.NOT_THERE)
    return things[index]


def private(group: str, limit: int | None, show_progress: str = "full") -> dict[str, Any]:
    """Options of the page's own events: not part of the API, within a concurrency group."""
    return {
        "api_visibility": "private",
        "concurrency_id": group,
        "concurrency_limit": limit,
        "show_progress": show_progress,
    }


def by_column(progress: gr.Progress, photos: int) -> Callable[[int, int, str], object]:
    """Shows which column of a comparison is being ranked: a large model takes a while for each."""
    return lambda done, total, title: progress((done, total), desc=texts.RANKING.format(title=title, n=photos), unit="columns")


def by_photo(progress: gr.Progress) -> Callable[[int, int], object]:
    """Shows the progress of an upload."""
    return lambda done, total: progress((done, total), desc=texts.INDEXING, unit="photos")
