"""What a step is, and how its events are wired."""

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import gradio as gr
from gradio.components import Component

from app.actions import answering
from app.answers.question import Question
from app.calls import LIGHT, SEARCH
from app.languages import texts
from app.page.context import StepContext
from app.page.event import event
from app.page.view import Controls, Event, Now, Updates, View
from app.page.views.template import script
from core.common.errors import StudioError
from core.common.text import clean_text

Item = TypeVar("Item")
MOST_CHIPS = 100  # beyond them, a list of chips would have pages


class Step:
    """A part of the page. It is shared by all visitors and holds no state of theirs.

    ``layout`` makes the components, in the order of the page, and declares the views. ``wire`` connects the events, once all
    steps are laid out. A handler changes the tab, and returns values of controls and boxes.
    """

    def __init__(self, context: StepContext) -> None:
        self.context, self.t = context, context.labels
        self.layout()
        context.steps.append(self)

    def layout(self) -> None:
        raise NotImplementedError

    def more(self) -> None:
        """Lay out the details, folded below the results."""

    def wire(self) -> None:
        """Connect the events."""

    def part(self, elem_id: str, html: str = "", scripted: str = "", **options: Any) -> gr.HTML:
        """HTML that a view draws. ``scripted``: the name of its script."""
        code = "(window.sgParts ??= []).push({ element, props, watch });\n" + (script(scripted) if scripted else "")
        return gr.HTML(html, js_on_load=code, elem_id=elem_id, **options)

    def view(self, outputs: Sequence[Any], depends: Callable[..., object], draw: Callable[..., Any], **options: Any) -> None:
        self.context.views.append(View(tuple(outputs), depends, draw, **options))

    def shows(self, part: Any, draw: Callable[..., Any], depends: Callable[..., object] | None = None, **options: Any) -> None:
        """Declare a view of one component: ``draw`` returns its value. Without ``depends``, it is made at each event."""
        self.view([part], depends or draw, lambda now: {part: draw(now)}, **options)

    def sight(self, component: Component | gr.Row, when: Callable[[Now], object], at_first: bool = False) -> Any:
        """Show a component only while ``when`` says so, and before the first answer only if ``at_first``. Returns it."""
        self.context.sights[name := str(component.elem_id)] = when
        self.context.hidden += [] if at_first else [name]
        return component

    def reports(self, elem_id: str, before: Callable[[], str] = str, **options: Any) -> gr.HTML:
        """HTML with what became of a step's last event: ``Tab.reports``, by ``elem_id``. ``before``: what it shows first."""
        part = self.part(elem_id, **options)
        self.shows(part, lambda now: now.tab.reports.get(elem_id) or before())
        return part

    def on(
        self,
        events: Any,
        handler: Callable[..., Any] | None = None,
        first: Sequence[Any] = (),
        sets: Sequence[Any] = (),
        shown_on: Any = None,
        group: str = LIGHT,
        js: str | None = None,
        trigger_mode: str | None = None,
        writes: str = "",
        **kinds: bool,
    ) -> Any:
        """Wire events to a handler of the ``Event`` and the values of ``first``. Without a handler, the page is drawn again.

        ``sets``: the controls, by name, and the boxes that it sets. ``writes``: the control that the visitor writes for it, if
        it is another component's event. ``shown_on``: the component that shows its progress. ``group``: as in ``app.calls``.
        ``kinds``: as for ``event``.
        """
        context = self.context
        called = event(context, handler or (lambda *_: None), group, writes=writes, **kinds)
        several = events if isinstance(events, Sequence) else [events]
        written = [context.written_for(getattr(each, "__self__", None)) for each in several]
        sets = [*sets, *(name for name in (writes, *written) if name)]
        boxes = [context.controls[each] if isinstance(each, str) else each for each in sets]
        drawn = [output for view in context.views for output in view.outputs if not isinstance(output, gr.HTML)]
        outputs = list(dict.fromkeys([context.drawn, context.number, context.memory, *drawn, *boxes]))
        # Gradio takes ``dependency.success``, a partial function, only by itself.
        listen = events if isinstance(events, functools.partial) else functools.partial(gr.on, events)
        kept = [context.kept_names] if kinds.get("hears") else []
        inputs = [*kept, *first, context.memory, context.number, *(context.controls[name] for name in Controls._fields)]
        shown_on = context.drawn if shown_on is None else shown_on  # else Gradio tells each output how far the event is
        progress = {"show_progress_on": shown_on, "show_progress": "hidden" if shown_on is context.drawn else "full"}
        # The page's own events are not in the API. ``app.calls.TURNS`` limits them.
        own: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None, "trigger_mode": trigger_mode}
        done = listen(called, inputs, outputs, js=js, **own, **progress)
        context.events += [] if kinds.get("opening") else [done]
        return done

    def asks(self, events: Any, handler: Callable[..., Any], first: Sequence[Any] = (), **options: Any) -> None:
        """Wire events that ask another question, as ``on``. Of the events during an answer, only the last one runs. An event
        with a clicked item needs "multiple": otherwise Gradio loses the item."""
        usual = {"shown_on": self.context.answer, "group": SEARCH, "trigger_mode": "always_last"}
        self.on(events, handler, first, **usual | options, asks=True)

    def opens(self, event: Any, fold: str) -> None:
        """Draw what is in a folded part or on a tab once the visitor opens it."""

        def opened(event: Event) -> Updates:
            return {"opened": " ".join(dict.fromkeys([*str(event.controls.opened).split(), fold]))}

        self.on(event, opened, sets=["opened"])

    def downloads(self, event: Any, write: Callable[[Event], str], shown_on: Any, group: str = LIGHT) -> None:
        """Write a file on an event, then let the browser fetch it. Gradio's own button fetches the file from before it."""
        file = gr.File(visible=False)

        @functools.wraps(write)
        def written(event: Event) -> Updates:
            return {file: write(event)}

        done = self.on(event, written, sets=[file], shown_on=shown_on, group=group, waits=True)
        done.success(None, file, file, js=script("fetch"))

    def chips(self, elem_id: str, label: str, visible: bool = False) -> gr.Dataset:
        """A list of words to click. ``clicked`` reads its event ``select``."""
        chips = {"label": label, "components": [self.context.controls["query"]], "samples_per_page": MOST_CHIPS}
        return gr.Dataset(**chips, samples=[], type="index", visible=visible, elem_id=elem_id)

    def answer(self, event: Event, question: Question | None = None, **values: Any) -> Updates:
        """Set some controls to these ``values``, and answer the question, or the words in the box, with the sentence's adapter.
        Raises DescriptionError: when a day or the sentence is invalid; also raises as ``answering.answer``."""
        controls = event.controls._replace(**values)
        asked = controls.asked(question or Question.words(controls.query, controls.scope))
        answering.answer(event.engine, event.tab, asked)
        return values

    def _adapt(self, event: Event, **values: Any) -> Updates:
        """Generate the adapter with these values of the controls, and ask the current question with it."""
        controls = event.controls._replace(**values)
        if (question := controls.words or event.tab.asked.question) is None:
            clean_text(controls.description)  # raises if the sentence is missing, too
        return self.again(event, question, **values)

    def again(self, event: Event, question: Question | None, **values: Any) -> Updates:
        """As ``answer``, but if the question cannot be answered yet, show that, and ask it once there are photos. Raises
        DescriptionError: when a value is invalid."""
        engine, asked = event.engine, event.controls._replace(**values).asked(question)
        if asked.request is not None:
            engine.check(asked.request.k, asked.request.strength, asked.request.weights)
        answering.answer_again(engine, event.tab, asked)
        return values


def textbox(elem_id: str, label: str, placeholder: str, lines: int = 1, **options: Any) -> gr.Textbox:
    """A box with an example of what to write into it. It grows up to ``lines`` lines."""
    return gr.Textbox(label=label, placeholder=placeholder, max_lines=lines, elem_id=elem_id, **options)


def choice(elem_id: str, label: str, choices: Sequence[Any], value: Any, **options: Any) -> gr.Dropdown:
    return gr.Dropdown(choices, value=value, label=label, filterable=False, elem_id=elem_id, **options)


def checkbox(elem_id: str, label: str, value: bool, width: int, **options: Any) -> gr.Checkbox:
    return gr.Checkbox(value, label=label, container=False, min_width=width, elem_id=elem_id, **options)


def copied(elem_id: str, label: str, **options: Any) -> gr.Textbox:
    """A text to copy, hidden until there is one."""
    return gr.Textbox(label=label, interactive=False, buttons=["copy"], visible=False, elem_id=elem_id, **options)


def dropped(elem_id: str, label: str, **options: Any) -> gr.File:
    """A box for photos, one line high."""
    return gr.File(label=label, height=48, elem_id=elem_id, elem_classes="sg-drop", **options)


def small(label: str, elem_id: str, width: int = 100, **options: Any) -> gr.Button:
    return gr.Button(label, size="sm", min_width=width, elem_id=elem_id, **options)


def clicked(items: Iterable[Item], words: Callable[[Item], str], shown: object) -> Item:
    """The item whose chip or row was clicked, found by its words, [words]: the page may show an older list. Raises StudioError:
    when it is gone."""
    found = next((item for item in items if [words(item)] == shown), None)
    if found is None:
        raise StudioError(texts.NOT_THERE)
    return found


def with_estimate(words: str, unit: str) -> answering.Progress:
    """Show how many photos or captions are done, and how long the others will take."""
    progress, begin = gr.Progress(), time.perf_counter()

    def show(done: int, total: int) -> None:
        left = (time.perf_counter() - begin) / done * (total - done) if done else None
        progress((done, total), desc=words if left is None else texts.LEFT.format(words=words, seconds=left), unit=unit)

    return show
