"""What the steps of the page share: models, session, controls, and the parts that they show.

No step knows another one. A step registers the controls that others read and the parts of the page that it shows. An event
changes the session, then names the parts to show again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, NamedTuple

import gradio as gr

from app import actions
from app.engines import Models
from app.photo_libraries import PhotoLibraries
from app.sample_shelf import SampleShelf
from app.visitors.question import OWN, Within, checked_day
from app.visitors.session import Session
from core.common.errors import StudioError
from core.retrieval.library_photos import LibraryPhotos
from core.sglora.engine import SGLora
from core.sglora.request import DEFAULT_WEIGHT, AdapterRequest
from core.sglora.router import DEFAULT_K, DEFAULT_TAU

Updates = dict[Any, Any]
TOPS = (6, 12, 24, 48)  # full rows of two or three photos
DEFAULT_TOP = 12


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
    only_changed: bool = False
    zero_shot: bool = True
    top: int = DEFAULT_TOP
    where: str = OWN
    folder: str = ""
    since: str = ""
    until: str = ""

    @property
    def request(self) -> AdapterRequest | None:
        """The adapter that they ask for; None without a sentence. Raises DescriptionError: when a value is unusable."""
        return actions.request(*self[:5]) if str(self.description or "").strip() else None

    @property
    def within(self) -> Within:
        """Which photos are searched; an unusable day filters nothing."""
        return Within.of(self.where, self.folder, self.since, self.until)

    def check_days(self) -> None:
        """Raise DescriptionError: when a day is unusable."""
        for day in (self.since, self.until):
            checked_day(day)


class Part(Enum):
    """What the page shows of a session."""

    STATUS = auto()  # the models and the chosen backbone
    ROUTING = auto()  # the experts that the sentence is routed to
    SUGGESTIONS = auto()  # sentences that the photos seem to fit
    ADAPTER = auto()  # the generated LoRA
    PHOTOS = auto()
    RESULTS = auto()
    NAMES = auto()  # names that the visitor taught
    EXPERTS = auto()  # all experts, the visitor's own, and the limits that they give the sliders
    # Folded at first. They take most of an answer's bytes, so they are sent only to tabs that opened them.
    DETAILS = auto()  # charts and maps of the routing and the adapter, in the drawer for researchers
    THUMBNAILS = auto()  # the photos, to manage them
    TABLE = auto()  # all experts, on their tab


Show = Callable[[Session, Controls], Updates]  # the updates of components for a session


@dataclass
class StepContext:
    """What every step gets. It is shared by all visitors and holds no state of theirs."""

    models: Models
    session: gr.State  # the component that holds a tab's ``Session``
    keep_seconds: float
    libraries: PhotoLibraries
    shelf: SampleShelf | None = None  # the samples that the page opens on
    controls: dict[str, Any] = field(default_factory=dict)  # components, by their names in ``Controls``
    picked: Any = None  # the box with the id of the chosen photo
    answer: Any = None  # the component with the results
    drawer: Any = None  # the drawer for researchers
    _parts: dict[Part, list[tuple[Sequence[Any], Show]]] = field(default_factory=lambda: {part: [] for part in Part})

    @property
    def opens_on_samples(self) -> bool:
        """Whether most visitors' pages open on the samples, so that room for their answer is there from the beginning."""
        return self.shelf is not None

    @property
    def inputs(self) -> list[Any]:
        """The components of ``Controls``, in order."""
        return [self.controls[name] for name in Controls._fields]

    @property
    def asked(self) -> list[Any]:
        """The last inputs of nearly all events: the session and the controls."""
        return [self.session, *self.inputs]

    def boxes(self, **values: Any) -> Updates:
        """The updates that set some controls to these values."""
        return {self.controls[name]: value for name, value in values.items()}

    def shows(self, part: Part, components: Sequence[Any], show: Show) -> None:
        """Register what shows a part. Several steps may show one part."""
        self._parts[part].append((components, show))

    def shows_once_open(self, folded: Part, part: Part, components: Sequence[Any], show: Show) -> None:
        """Register what shows a folded part. Once a tab has opened it, it changes with another ``part``."""

        def once_open(session: Session, controls: Controls) -> Updates:
            return show(session, controls) if folded.name in session.opened else {}

        self.shows(part, components, once_open)
        self.shows(folded, components, once_open)

    def outputs(self, *parts: Part) -> list[Any]:
        """All components of these parts, each once."""
        return list(dict.fromkeys(c for part in parts for components, _ in self._parts[part] for c in components))

    def show(self, session: Session, controls: Controls, *parts: Part) -> Updates:
        """The updates that show these parts as the session is now. What several of them show is computed once."""
        updates: Updates = {}
        for show in dict.fromkeys(show for part in parts for _, show in self._parts[part]):
            updates |= show(session, controls)
        return updates

    def engine(self, session: Session) -> SGLora:
        """The engine of the visitor's repository, with the visitor's own experts. Waits for the models if needed."""
        session.album.used = time.monotonic()
        engine = session.album.engine(self.models.get(session.album.backbone))
        if self.shelf is not None:
            self.shelf.show(engine, session)
        return engine

    def show_again(
        self, session: Session, controls: Controls, *parts: Part, progress: actions.RankingProgress | None = None
    ) -> Updates:
        """Ask the last question again after something changed, and show these parts."""
        actions.ask_again(self.engine(session), session, progress, self.libraries)
        return self.show(session, controls, *parts)

    def library(self, session: Session, controls: Controls) -> LibraryPhotos | None:
        """The library that a question would search; None if there is none, or it cannot be read."""
        with suppress(StudioError):
            if name := controls.within.library:
                return self.libraries.photos(name, self.engine(session).backbone)
        return None

    def can_ask(self, session: Session, controls: Controls) -> bool:
        """Whether there are a question and photos to ask it of."""
        has_photos = bool(session.album.photos) or controls.within.library in self.libraries.names
        return has_photos and bool(controls.query.strip())
