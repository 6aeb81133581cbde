"""What the steps of the page share: models, visitors, controls, and the parts that they show.

No step knows another one. A step registers the controls that others read and the parts of the page that it shows. An event
changes the tab, then names the parts to show again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, NamedTuple

from app.actions import answering
from app.actions.sources import Sources
from app.answers.question import OWN, Asked, Question, Scope, checked_day
from app.models.engines import DEFAULT, Models
from app.page.labels import Labels
from app.photos.files import Files
from app.visitors.registry import Visitors
from app.visitors.tab import Tab
from core.common.errors import StudioError
from core.retrieval.gallery import Photo
from core.retrieval.library_photos import LibraryPhotos
from core.sglora.engine import SGLora
from core.sglora.request import DEFAULT_WEIGHT, AdapterRequest
from core.sglora.router import DEFAULT_K, DEFAULT_TAU

Updates = dict[Any, Any]
_numbers = itertools.count(1)


class Controls(NamedTuple):
    """The values of the controls that an adapter and its results depend on."""

    description: str = ""
    k: float = DEFAULT_K
    tau: float = DEFAULT_TAU
    seed: float = 0
    strength: float = DEFAULT_WEIGHT
    query: str = ""
    merge: bool = False
    random: bool = False
    zero_shot: bool = True
    where: str = OWN
    folder: str = ""
    since: str = ""
    until: str = ""

    @property
    def request(self) -> AdapterRequest | None:
        """The request for an adapter; None without a sentence. Raises DescriptionError: when a value is invalid."""
        if not str(self.description or "").strip():
            return None
        return answering.request(self.description, self.k, self.tau, self.seed, self.strength)

    @property
    def scope(self) -> Scope:
        """Which photos are searched; an invalid day filters nothing."""
        return Scope.of(self.where, self.folder, self.since, self.until)

    @property
    def words(self) -> Question | None:
        """The question in the box; None if it is empty."""
        return Question.words(self.query, self.scope) if str(self.query or "").strip() else None

    def asked(self, question: Question | None) -> Asked:
        """What an answer to the question depends on. Raises DescriptionError: when the sentence or a day is invalid."""
        for day in (self.since, self.until):
            checked_day(day)
        return Asked(question, self.request, *self.beside(question))

    def beside(self, question: Question | None) -> tuple[bool, bool]:
        """Whether there are columns of the merged experts and of a random sentence. Samples always
        have a random sentence as the control."""
        return bool(self.merge), bool(self.random) or (question is not None and bool(question.scope.samples))


class Part(Enum):
    """A part of the page that shows the state of a tab."""

    STATUS = auto()  # the models and the chosen backbone
    ROUTING = auto()  # the experts that the sentence is routed to
    ADAPTER = auto()  # the generated LoRA, and sentences that the photos seem to fit
    PHOTOS = auto()
    RESULTS = auto()
    NAMES = auto()  # names that the visitor taught
    EXPERTS = auto()  # the visitor's own experts, and the limits of the sliders


ANSWER = (Part.ROUTING, Part.ADAPTER, Part.RESULTS)  # parts that change with the adapter or the question
Show = Callable[[Tab, Controls], Updates]  # the updates of components for a tab


@dataclass
class StepContext:
    """What every step gets. It is shared by all visitors and holds no state of theirs."""

    models: Models
    visitors: Visitors
    sources: Sources
    labels: Labels = field(default_factory=Labels)
    controls: dict[str, Any] = field(default_factory=dict)  # components, by their names in ``Controls``
    memory: Any = None  # the component with the visitor's token, kept by the browser
    kept_names: Any = None  # the component with the visitor's names, kept by the browser
    changed: Any = None  # a number whose change shows everything again; see ``all_again``
    picked: Any = None  # the box with the id of the chosen photo
    answer: Any = None  # the component with the results
    drawer: Any = None  # the drawer for researchers
    folded: list[tuple[Any, Show, Sequence[Any]]] = field(default_factory=list)  # the event that opens a part, and the part
    _parts: dict[Part, list[tuple[Sequence[Any], Show]]] = field(default_factory=lambda: {part: [] for part in Part})

    def all_again(self) -> Updates:
        """The update that answers the last question again, with the current controls, and then shows every part."""
        return {self.changed: next(_numbers)}

    @property
    def opens_on_samples(self) -> bool:
        """Whether the page opens on the samples for most visitors. Then it reserves room for their answer."""
        return self.sources.samples is not None and not self.sources.libraries.names and self.models.first == DEFAULT

    @property
    def inputs(self) -> list[Any]:
        """The components of ``Controls``, in order."""
        return [self.controls[name] for name in Controls._fields]

    def with_boxes(self, updates: Updates, **values: Any) -> Updates:
        """These updates, which also set some controls to these values if they set no other."""
        for name, value in values.items():
            shown = updates.setdefault(self.controls[name], value)
            if isinstance(shown, dict):  # from ``gr.update``
                shown.setdefault("value", value)
        return updates

    def shows(self, part: Part, components: Sequence[Any], show: Show) -> None:
        """Register the function that shows a part. A part may have several."""
        self._parts[part].append((components, show))

    def shows_once_open(self, sign: Any, components: Sequence[Any], show: Show, *parts: Part) -> None:
        """Register the function that shows components which are folded at first. They take most of an answer's bytes, so a tab
        gets them when the event ``sign`` opens them, and from then on with ``parts``."""
        name = components[0].elem_id

        def once_open(tab: Tab, controls: Controls) -> Updates:
            return show(tab, controls) if name in tab.opened else {}

        def opened(tab: Tab, controls: Controls) -> Updates:
            tab.opened.add(name)
            return show(tab, controls)

        self.folded.append((sign, opened, components))
        for part in parts:
            self.shows(part, components, once_open)

    def outputs(self, *parts: Part) -> list[Any]:
        return list(dict.fromkeys(c for part in parts for components, _ in self._parts[part] for c in components))

    def show(self, tab: Tab, controls: Controls, *parts: Part) -> Updates:
        """The updates that show the current state of these parts. A function of several parts runs once."""
        updates: Updates = {}
        for show in dict.fromkeys(show for part in parts for _, show in self._parts[part]):
            updates |= show(tab, controls)
        return updates

    def engine(self, tab: Tab) -> SGLora:
        """The engine of the visitor's repository, with the visitor's own experts. Waits for the models if needed."""
        return tab.visitor.engine(self.models.get(tab.visitor.backbone))

    def show_again(self, tab: Tab, controls: Controls, *parts: Part, asked: Asked | None = None) -> Updates:
        """Answer the last question again after something changed, and show these parts."""
        answering.answer_again(self.engine(tab), tab, asked, self.sources, lambda: tab.closed)
        return self.show(tab, controls, *parts)

    def photos(self, tab: Tab, controls: Controls) -> tuple[tuple[Photo, ...], Files]:
        """The searched photos outside a library, and their files: the samples, or the visitor's own."""
        samples = self.sources.samples
        if (name := controls.scope.samples) and samples is not None and self.models.loaded:
            return samples.gallery(self.engine(tab), name).photos, samples.files
        return tab.visitor.photos, tab.visitor.files

    def library(self, tab: Tab, controls: Controls) -> LibraryPhotos | None:
        """The library that a question would search; None if there is none, or it cannot be read."""
        with suppress(StudioError):
            if name := controls.scope.library:
                return self.sources.libraries.photos(name, self.engine(tab).backbone)
        return None
