"""What one tab, or one API client, shows: its last answer and its marks. Visitors never share it."""

import math
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from app.answers.comparison import Answer, Comparison
from app.answers.question import Asked, Question, Scope
from app.photos.files import Files
from app.photos.libraries import PhotoLibraries
from app.photos.samples import Samples
from app.visitors.visitor import Visitor
from core.retrieval.gallery import Gallery, Photo
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.photo_set import Where, background
from core.retrieval.search import Search
from core.sglora.engine import Adaptation, SGLora

SHOWN = 12  # results of a column at first: full rows of two or three photos


@dataclass(frozen=True)
class Sources:
    """What there is to search beside a visitor's own photos."""

    libraries: PhotoLibraries = field(default_factory=PhotoLibraries)
    samples: Samples | None = None  # None: the app shows none


class SetValue(NamedTuple):
    """A value of a control, the number of the answer that sets it, and that of the event."""

    value: object
    answer: int
    event: int


@dataclass
class Drawn:
    """What the browser shows of a tab. The answers to its events have numbers, and the browser sends the last one it got."""

    name: str = field(default_factory=lambda: secrets.token_hex(4))  # the server may forget a tab and begin again
    number: int = 0
    views: dict[Any, object] = field(default_factory=dict)  # what each view showed last
    values: dict[str, SetValue] = field(default_factory=dict)  # values of controls that an answer set
    written: dict[str, tuple[object, int]] = field(default_factory=dict)  # what the visitor wrote, and for which event
    controls: Any = None  # the values of the controls at the last event
    event: int = 0  # its number, in the order in which events reached the server
    asked: int = 0  # that of the last event that asked a question
    hidden: frozenset[str] | None = frozenset()  # components that are hidden; None: the next event is answered in any case
    ready: bool = False  # whether the models were loaded
    lock: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, controls: Any, since: int, event: int, changed: Sequence[str] = ()) -> tuple[Any, dict[str, object]]:
        """The values of the controls at an event, with those that answers set after number ``since``: the browser had not got
        them yet. What the visitor ``changed`` by the event stays, unless a later event set another value, and is returned apart
        if an answer on its way sets another one: the browser must get it again. The values of the latest event are kept."""
        with self.lock:
            late = {name: each for name, each in self.values.items() if each.answer > since}
            again = {name: getattr(controls, name) for name in changed if name in late and late[name].event <= event}
            controls = controls._replace(**{name: each.value for name, each in late.items()} | again)
            if event >= self.event:
                self.controls, self.event = controls, event
            return controls, again

    def set(self, values: Mapping[str, object], event: int) -> None:
        """Note values that an event sets. The next event may come before its answer is drawn."""
        with self.lock:
            self.values |= {name: SetValue(value, self.number + 1, event) for name, value in values.items()}
            self.controls = self.controls._replace(**values)

    def write(self, values: Mapping[str, object], event: int) -> None:
        """Note what the visitor wrote for an event, which may wait for its turn."""
        with self.lock:
            self.written |= {name: (value, event) for name, value in values.items()}

    def sends(self, names: Iterable[str], number: int, event: float, since: float = math.inf) -> dict[str, object]:
        """The values of controls for the answer of this number to an event. A later event may have set others than its own, and
        the visitor may have written others since. What answers set after number ``since`` is sent again."""
        with self.lock:
            names = {*names, *(name for name, each in self.values.items() if each.answer > since)}
            written = {name: value for name, (value, later) in self.written.items() if later > event}
            latest = {name: written.get(name, self.values[name].value) for name in names}
            self.values |= {name: self.values[name]._replace(value=value, answer=number) for name, value in latest.items()}
            return latest


@dataclass(eq=False)
class Tab:
    visitor: Visitor
    asked: Asked = field(default_factory=Asked)  # the last question; it may wait for photos
    answer: Answer = field(default_factory=Answer)  # the answer that is shown
    answered: tuple[object, ...] | None = None  # what this answer depended on; None before the first one
    drawn: Drawn = field(default_factory=Drawn)
    more: int = 0  # results that the visitor asked for beyond the first ones
    name: str = ""  # the taught name that is selected
    picked: tuple[Sequence[Photo], str] = (), ""  # the visitor's photos when one was chosen, and its id
    found: str = ""  # the words that experts of the table must have
    keywords: Mapping[str, Sequence[int]] = field(default_factory=dict)  # those of the searched photos, as drawn: their rows
    proposed: Sequence[Any] = ()  # keywords for photos that have none
    reports: dict[str, str] = field(default_factory=dict)  # HTML: what became of the last event of a step
    here: bool = False  # whether its visitor sits at this machine
    closed: bool = False  # whether the browser closed it
    training: threading.Event | None = None  # stops the running training
    loading: str = ""  # the repository that the visitor chose, until it is there
    download: threading.Event | None = None  # ends the wait for a model
    turn: threading.Lock = field(default_factory=threading.Lock)  # held by the event that changes what the tab shows
    sources: Sources = field(default_factory=Sources)

    # What it searches

    def gallery(self, engine: SGLora, scope: Scope) -> Gallery:
        """The samples or the visitor's photos. Raises GalleryError: as ``Visitor.gallery`` and ``Samples.gallery``."""
        samples = self.sources.samples
        return samples.gallery(engine, scope.samples) if samples and scope.samples else self.visitor.gallery(engine)

    def files(self, scope: Scope) -> Files:
        """The files of the photos of ``gallery``."""
        return self.sources.samples.files if self.sources.samples and scope.samples else self.visitor.files

    def library(self, engine: SGLora, scope: Scope) -> LibraryPhotos | None:
        """Raises LibraryError: when there is no such library, or it cannot be read."""
        return self.sources.libraries.photos(scope.library, engine.backbone) if scope.library else None

    def search(self, engine: SGLora, asked: Question) -> Search:
        """The search that answers a question. Raises as ``gallery`` and ``library``."""
        scope = asked.scope
        own = self.gallery(engine, scope).contents if scope.own or scope.samples else None
        library = self.library(engine, scope)
        where = Where(Path(scope.folder) if scope.folder else None, scope.since, scope.until)
        names = self.visitor.names(engine).among(background([own, library]))
        return Search(asked.kind, asked.what, own, library, names, where, asked.file)

    # What it shows

    @property
    def adaptation(self) -> Adaptation | None:
        return self.answer.adaptation

    @property
    def comparison(self) -> Comparison | None:
        return self.answer.comparison

    @property
    def counted(self) -> Comparison | None:
        """The columns over which recall is counted."""
        return self.answer.comparison or self.answer.unasked

    @property
    def top(self) -> int:
        """How many results a column shows."""
        return SHOWN + self.more

    @property
    def memory(self) -> int:
        """Bytes of the adapters that were made for this tab."""
        if self.adaptation is None:  # then the columns have the shared LoRA, which no tab made
            return 0
        columns = () if self.comparison is None else self.comparison.columns
        loras = [self.adaptation.lora, *(column.adapter.lora for column in columns if column.adapter.lora is not None)]
        return 4 * sum({id(lora): lora.parameters for lora in loras}.values())  # in float32

    @property
    def marks(self) -> Mapping[str, bool]:
        """The visitor's marks on the results of the last question: whether a photo is right."""
        return {} if self.comparison is None else self.visitor.marks.get(self.comparison.asked, {})

    @property
    def ticked(self) -> list[str]:
        """The photos that are marked as right for the last question, if it was words."""
        return [photo for photo, right in self.marks_of_words.items() if right]

    @property
    def marks_of_words(self) -> Mapping[str, bool]:
        """The marks on the results of the last question, if it was words: a name can be taught from them."""
        return self.marks if self.comparison is not None and self.comparison.asked.kind == "words" else {}
