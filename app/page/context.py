"""What every step gets, and the function that draws what has changed."""

import math
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from app.actions import answering
from app.models.engines import DEFAULT, Models
from app.page.labels import Labels
from app.page.view import Now, Updates, View, drawing
from app.visitors.registry import Visitors
from app.visitors.tab import Sources, Tab
from core.common.errors import StudioError


@dataclass
class StepContext:
    """It is shared by all visitors and holds no state of theirs."""

    models: Models
    visitors: Visitors
    labels: Labels = field(default_factory=Labels)
    controls: dict[str, Any] = field(default_factory=dict)  # components, by their names in ``Controls``
    memory: Any = None  # the component with the visitor's token, kept by the browser
    kept_names: Any = None  # the component with the visitor's names, kept by the browser
    number: Any = None  # the component with the number of the last answer
    drawn: Any = None  # the component that draws HTML and hides components
    answer: Any = None  # the component with the results
    picked: Any = None  # the box with the id of the chosen photo
    tour: Any = None  # the component that begins the tour of the method
    bars: list[Any] = field(default_factory=list)  # parts with the weights of experts, which the visitor may change
    steps: list[Any] = field(default_factory=list)  # all steps of the page, in its order
    events: list[Any] = field(default_factory=list)  # those that a visitor may send again
    running: Counter[str] = field(default_factory=Counter)  # events that wait or run, by the session of their tab
    views: list[View] = field(default_factory=list)
    sights: dict[str, Callable[[Now], object]] = field(default_factory=dict)  # when a component is shown, by its id
    hidden: list[str] = field(default_factory=list)  # ids of components that are hidden before the first answer

    def written_for(self, component: object) -> str:
        """The control that a visitor writes for the events of a component: itself; an empty text if it is none."""
        return next((name for name, control in self.controls.items() if control is component), "")

    @property
    def sources(self) -> Sources:
        return self.visitors.sources

    def redraw(
        self, tab: Tab, set_values: Updates, event: float = math.inf, idle: bool = False, lost: object = None
    ) -> Updates:
        """Answer the tab's question again if that is due, and draw every view that has changed.
        ``set_values``: what the handler of the ``event`` of this number sets, by control or component. ``idle``: no other event
        of the tab waits or runs. ``lost``: the number of an answer; what later ones have set is set again."""
        drawn, number = tab.drawn, tab.drawn.number + 1
        since = lost if isinstance(lost, int) else math.inf
        sent = drawn.sends([name for name in set_values if isinstance(name, str)], number, event, since)
        set_values, now = set_values | sent, Now(tab, drawn.controls, self.models)
        ready = self.models.engine(tab.visitor.backbone).loaded
        if ready != drawn.ready:  # what was drawn before the models were there may miss them
            drawn.views.clear()
            drawn.ready = ready
        before = drawn.number if drawn.views else 0
        if ready:
            with suppress(StudioError):  # without an engine, show at least that photos and results are gone
                answering.refresh(now.engine, tab)
        opened, updates, shown = ["", *str(now.controls.opened).split()], Updates(), dict[Any, object]()
        for view in [view for view in self.views if view.when in opened and (ready or view.at_once)]:
            with suppress(StudioError):
                depends = view.depends(now)
                if view.draw not in drawn.views or depends != drawn.views[view.draw]:
                    updates |= view.draw(now)
                    shown[view.draw] = depends
        drawn.views |= shown
        html = {str(part.elem_id): str(updates.pop(part)) for part in list(updates) if isinstance(part, gr.HTML)}
        hidden = frozenset(name for name, when in self.sights.items() if not _seen(when, now))
        counted = tab.counted
        count = "recall" in html and counted is not None and counted.measurable and not counted.measured
        updates = self.by_component(set_values) | updates
        if not (updates or html) and hidden == drawn.hidden:
            return {}
        drawn.number, drawn.hidden = number, hidden
        answer = drawing(drawn.name, number, before, html, sorted(hidden), count, idle)
        return updates | {self.drawn: answer, self.number: number}

    def by_component(self, values: Updates) -> Updates:
        return {self.controls.get(name, name): value for name, value in values.items()}

    @property
    def opens_on_samples(self) -> bool:
        """Whether the page opens on the samples for most visitors. Then it reserves room for their answer."""
        return self.sources.samples is not None and not self.sources.libraries.names and self.models.first == DEFAULT


def _seen(when: Callable[[Now], object], now: Now) -> bool:
    with suppress(StudioError):
        return bool(when(now))
    return False
