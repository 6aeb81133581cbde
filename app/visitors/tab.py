"""What one tab, or one API client, shows: its last answer and its marks. Visitors never share it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.answers.comparison import Comparison
from app.answers.question import Asked, Question
from app.visitors.visitor import Visitor
from core.backbones.lora import Lora
from core.names.teach import TaughtName
from core.retrieval.adapter import Adapter
from core.retrieval.gallery import Photo
from core.retrieval.search import Recent
from core.sglora.engine import Adaptation
from core.sglora.repository import ExpertRepository

SHOWN = 12  # results of a column at first: full rows of two or three photos
KEPT_WITH_NAMES = 4  # adapters with names that are kept; the page compares three


@dataclass(eq=False)
class Tab:
    visitor: Visitor
    asked: Asked = field(default_factory=Asked)  # what the last answer depends on
    adaptation: Adaptation | None = None  # the adapter of ``asked.request``
    repository: ExpertRepository | None = None  # the experts that made it
    comparison: Comparison | None = None  # the last answer
    unasked: Comparison | None = None  # without a question: the columns over which recall is counted
    listed: tuple[Photo, ...] | None = None  # the photos that the tab's gallery shows; None before
    ready: bool = False  # whether the page shows the last answer
    opened: set[str] = field(default_factory=set)  # folded parts of the page that the tab has opened
    more: int = 0  # results that the visitor asked for beyond the first ones
    marks: dict[Question, dict[str, bool]] = field(default_factory=dict)  # photos marked as right or wrong, by question
    name: str = ""  # the taught name that is selected
    here: bool = False  # whether its visitor sits at this machine
    names_sent: tuple[TaughtName, ...] | None = None  # the names last sent to the browser
    closed: bool = False  # whether the browser closed it
    training: threading.Event | None = None  # stops the running training
    download: threading.Event | None = None  # ends the wait for a model
    turn: threading.Lock = field(default_factory=threading.Lock)  # held by the event that changes the answer
    on_names: Recent[Adapter] = field(default_factory=lambda: Recent(KEPT_WITH_NAMES))  # adapters with names

    @property
    def top(self) -> int:
        """How many results a column shows."""
        return SHOWN + self.more

    @property
    def counted(self) -> Comparison | None:
        return self.comparison or self.unasked

    @property
    def memory(self) -> int:
        """Bytes of the adapters that were made for this tab."""
        adapters, loras = [*self.on_names.values], list[Lora]()
        if self.adaptation is not None:  # else the columns have the shared LoRA, which no tab made
            loras = [self.adaptation.lora]
            adapters += [] if self.comparison is None else [column.adapter for column in self.comparison.columns]
        loras += [lora for adapter in adapters for lora in (adapter.lora, adapter.base) if lora is not None]
        return 4 * sum({id(lora): lora.parameters for lora in loras}.values())  # in float32

    @property
    def ticked(self) -> list[str]:
        """The photos that are marked as right for the last question, if it was words."""
        return [photo for photo, right in self.marks_of_words.items() if right]

    @property
    def marks_of_words(self) -> Mapping[str, bool]:
        """The marks on the results of the last question, if it was words: a name can be taught from them."""
        asked = None if self.comparison is None else self.comparison.asked
        return self.marks.get(asked, {}) if asked is not None and asked.kind == "words" else {}

    def remember(self) -> None:
        """Save what this tab asked last, so that a reload shows it."""
        self.visitor.last = self.asked, self.marks

    def resume(self) -> None:
        """Take over what the visitor's last tab asked."""
        self.asked, marks = self.visitor.last
        self.marks = {question: dict(photos) for question, photos in marks.items()}
