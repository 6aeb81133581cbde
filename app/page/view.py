"""Views: what the page shows of a tab. Each is drawn again when what it depends on has changed; no event names any.

One component with one script (`draw.js`) draws HTML: Gradio makes each output of an event again, and 60 would take 20 ms.
An answer may overtake another one. So answers have numbers; a browser that misses one asks for everything.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import gradio as gr
from gradio.components import Component

from app.actions.answering import request as checked_request
from app.answers.question import OWN, Asked, Question, Scope, checked_day
from app.models.engines import Models
from app.photos.files import Files
from app.visitors.tab import Tab
from app.visitors.visitor import Visitor
from core.common.errors import StudioError
from core.common.text import one_line
from core.retrieval.gallery import Photo
from core.retrieval.library_photos import LibraryPhotos
from core.sglora.engine import SGLora
from core.sglora.request import DEFAULT_WEIGHT, AdapterRequest
from core.sglora.router import DEFAULT_K, DEFAULT_TAU

Updates = dict[Any, Any]  # of components, by component; of controls also by name
FILTERS = ("folder", "since", "until")  # controls of all filters


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
    weights: str = ""  # by hand: the sentence that they are for, and a line “expert=weight” for each
    opened: str = ""  # names of the folded parts that the visitor has opened

    @property
    def request(self) -> AdapterRequest | None:
        """The request for an adapter; None without a sentence. Raises DescriptionError: when a value is invalid."""
        if not str(self.description or "").strip():
            return None
        sentence, _, lines = str(self.weights or "").partition("\n")
        lines = lines if one_line(sentence) == one_line(self.description) else ""
        return checked_request(self.description, self.k, self.tau, self.seed, self.strength, lines)

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
        return Asked(question, self.request, bool(self.merge), bool(self.random))


@dataclass(frozen=True)
class Now:
    """A tab and the values of its controls: what a view draws, and what a handler gets."""

    tab: Tab
    controls: Controls
    models: Models

    @property
    def visitor(self) -> Visitor:
        return self.tab.visitor

    @property
    def engine(self) -> SGLora:
        """The engine of the visitor's repository, with the visitor's own experts. Waits for the models if needed."""
        return self.visitor.engine(self.models.get(self.visitor.backbone))

    @property
    def _samples(self) -> bool:
        return self.controls.scope.samples != "" and self.tab.sources.samples is not None and self.models.loaded

    @property
    def photos(self) -> tuple[Photo, ...]:
        """The searched photos outside a library: the samples, or the visitor's own."""
        return self.tab.gallery(self.engine, self.controls.scope).photos if self._samples else self.visitor.photos

    @property
    def files(self) -> Files:
        """The files of ``photos``."""
        return self.tab.files(self.controls.scope) if self._samples else self.visitor.files

    @property
    def picked(self) -> str:
        """The id of the chosen photo. "" if there is none, or the visitor's photos have changed since."""
        photos, picked = self.tab.picked
        return picked if photos == self.visitor.photos else ""

    @property
    def library(self) -> LibraryPhotos | None:
        """The library that a question would search; None if there is none, or it cannot be read."""
        with suppress(StudioError):
            if self.controls.scope.library and self.models.loaded:
                return self.tab.library(self.engine, self.controls.scope)
        return None


@dataclass(frozen=True)
class Event(Now):
    """What a handler gets."""

    data: Mapping[str, Any]  # what the component says of the event, such as {"index": 2}
    request: gr.Request
    had: bool  # whether the browser remembers that the visitor had photos or experts
    since: int  # the number of the last answer that the browser got


@dataclass(frozen=True, eq=False)
class Same:
    """Equal only to that of the same object: for what takes long to compare, or has tensors."""

    value: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value


class View(NamedTuple):
    """Some components of the page. ``draw`` makes their updates, if what ``depends`` returns has changed.

    ``when``: the folded part that they are in; before it is opened, they are not drawn. ``at_once``: they need no models.
    """

    outputs: tuple[Component, ...]
    depends: Callable[[Now], object]
    draw: Callable[[Now], Updates]
    when: str = ""
    at_once: bool = False


def drawing(
    tab: str, n: int, before: int, html: Mapping[str, str], hidden: Sequence[str], count: bool = False, idle: bool = False
) -> str:
    """What `draw.js` gets: the number of a tab's answer, that of the answer before it (0: it draws everything), HTML by id, the
    ids of hidden components, whether recall is to be counted, and whether no other event of the tab waits or runs."""
    parts = {"tab": tab, "n": n, "before": before, "html": html, "hidden": hidden, "count": count, "idle": idle}
    return json.dumps(parts)


NOTHING = drawing("", 0, -1, {}, ())  # answers a tab that the server forgot
