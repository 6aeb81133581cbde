"""What a step is, and how its events are wired."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import gradio as gr

from app.actions import answering
from app.answers.question import Question
from app.api import LIGHT, LIMITS, OPEN, SEARCH
from app.languages import texts
from app.page.steps.context import ANSWER, Controls, Part, StepContext, Updates
from app.page.steps.event import event
from app.page.views.template import script
from app.visitors.tab import Tab
from core.common.errors import StudioError

Item = TypeVar("Item")
MOST_CHIPS = 100  # beyond them, a list of chips would have pages
ON_SIGHT = "trigger('focus')"  # HTML fires “focus” once its tab is opened; Gradio would fire “load” with the page


class Step:
    """A part of the page. It is shared by all visitors and holds no state of theirs.

    ``layout`` makes the components, in the order of the page. ``wire`` connects their events, once all steps are laid out.
    """

    def __init__(self, context: StepContext) -> None:
        self.context, self.t = context, context.labels
        self.layout()

    def layout(self) -> None:
        raise NotImplementedError

    def more(self) -> None:
        """Lay out the details, folded below the results."""

    def wire(self) -> None:
        """Connect the events."""

    def on(
        self,
        events: Any,
        handler: Callable[..., Any] | None = None,
        first: Sequence[Any] = (),
        also: Sequence[Any] = (),
        parts: Sequence[Part] = (),
        shown_on: Any = None,
        group: str = LIGHT,
        **options: Any,
    ) -> Any:
        """Wire events to a handler, which takes the values of ``first``, the tab and the controls.

        Without a handler, the event shows the current state of ``parts``. ``also``, ``parts``: the components it updates.
        ``shown_on``: the component that shows its progress. ``group``: as in ``app.api``.

        """

        def show(tab: Tab, controls: Controls) -> Updates:
            return self.context.show(tab, controls, *parts)

        context, outputs = self.context, list(dict.fromkeys([*also, *self.context.outputs(*parts)]))
        called = event(context, handler or show, outputs, Part.RESULTS in parts, group == OPEN)
        # Gradio takes ``dependency.success``, a partial function, only by itself.
        listen = events if isinstance(events, functools.partial) else functools.partial(gr.on, events)
        outputs = list(dict.fromkeys([*outputs, context.memory, context.changed]))
        return listen(called, [*first, context.memory, *context.inputs], outputs, **private(group, shown_on), **options)

    def answers(
        self, events: Any, handler: Callable[..., Any], first: Sequence[Any] = (), trigger_mode: str = "always_last"
    ) -> None:
        """Wire events that show another answer. The arguments are those of ``on``. Of the events during an answer, only
        the last one runs. An event with a clicked item needs "multiple": otherwise Gradio loses the item."""
        self.on(events, handler, first, (), ANSWER, self.context.answer, SEARCH, trigger_mode=trigger_mode)

    def downloads(self, button: gr.Button, write: Callable[..., str], shown_on: Any, group: str = LIGHT) -> None:
        """Write a file on click, then let the browser fetch it. Gradio's own button fetches the file from before it."""
        file = gr.File(visible=False)
        written = self.on(button.click, write, also=[file], shown_on=shown_on, group=group)
        written.success(None, file, file, js=script("fetch"), **private())

    def chips(self, elem_id: str, label: str, visible: bool = False) -> gr.Dataset:
        """A list of words to click. ``clicked`` reads its event ``select``."""
        chips = {"label": label, "components": [self.context.controls["query"]], "samples_per_page": MOST_CHIPS}
        return gr.Dataset(**chips, samples=[], type="index", visible=visible, elem_id=elem_id)

    def answer(
        self, tab: Tab, controls: Controls, question: Question | None = None, parts: Sequence[Part] = ANSWER, **values: Any
    ) -> Updates:
        """Set some controls to these ``values``, and answer the question, or the words in the box, with the sentence's adapter.
        Raises DescriptionError: when a day or the sentence is invalid; also raises as ``answering.answer``."""
        context, controls = self.context, controls._replace(**values)
        asked = controls.asked(question or Question.words(controls.query, controls.scope))
        answering.answer(context.engine(tab), tab, asked, context.sources, lambda: tab.closed)
        return context.with_boxes(context.show(tab, controls, *parts), **values)

    def change(self, tab: Tab, controls: Controls, *parts: Part, **values: Any) -> Updates:
        """As ``answer``, but if the words cannot be asked yet, show that instead, and ask them once there are photos."""
        controls = controls._replace(**values)
        shown = self.context.show_again(tab, controls, *parts, *ANSWER, asked=controls.asked(controls.words))
        return self.context.with_boxes(shown, **values)


def textbox(elem_id: str, label: str, placeholder: str, lines: int = 1, **options: Any) -> gr.Textbox:
    """A box with an example of what to write into it. It grows up to ``lines`` lines."""
    return gr.Textbox(label=label, placeholder=placeholder, max_lines=lines, elem_id=elem_id, **options)


def choice(elem_id: str, label: str, choices: Sequence[Any], value: Any, **options: Any) -> gr.Dropdown:
    """A dropdown of a few choices, without a filter."""
    return gr.Dropdown(choices, value=value, label=label, filterable=False, elem_id=elem_id, **options)


def copied(elem_id: str, label: str, **options: Any) -> gr.Textbox:
    """A text to copy, hidden until there is one."""
    return gr.Textbox(label=label, interactive=False, buttons=["copy"], visible=False, elem_id=elem_id, **options)


def dropped(elem_id: str, label: str, **options: Any) -> gr.File:
    """A box for photos, one line high."""
    return gr.File(label=label, height=48, elem_id=elem_id, elem_classes="sg-drop", **options)


def chosen(items: Sequence[Item], index: object) -> Item:
    """The item that was clicked. Raises StudioError: when it is gone, or the index is invalid."""
    if type(index) is not int or not 0 <= index < len(items):
        raise StudioError(texts.NOT_THERE)
    return items[index]


def rows(words: Iterable[str]) -> list[list[str]]:
    return [[word] for word in words]


def clicked(items: Iterable[Item], words: Callable[[Item], str], shown: object) -> Item:
    """The item whose chip or row was clicked, found by its words, [words]: the page may show an older list. Raises StudioError:
    when it is gone."""
    found = next((item for item in items if [words(item)] == shown), None)
    if found is None:
        raise StudioError(texts.NOT_THERE)
    return found


def private(group: str = LIGHT, shown_on: Any = None) -> dict[str, Any]:
    """Options of the page's own events: not in the API, in a concurrency group, with their progress on ``shown_on``."""
    progress = {"show_progress": "hidden"} if shown_on is None else {"show_progress": "full", "show_progress_on": shown_on}
    return {"api_visibility": "private", "concurrency_id": group, "concurrency_limit": LIMITS.get(group), **progress}


def with_estimate(words: str, unit: str) -> answering.Progress:
    """Show how many photos or captions are done, and how long the others will take."""
    progress, begin = gr.Progress(), time.perf_counter()

    def show(done: int, total: int) -> None:
        left = (time.perf_counter() - begin) / done * (total - done) if done else None
        progress((done, total), desc=words if left is None else texts.LEFT.format(words=words, seconds=left), unit=unit)

    return show
