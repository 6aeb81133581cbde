"""What one tab shows: the adapter last generated, the last comparison, the marks. Never shared between visitors."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.engines import DEFAULT
from app.visitors.album import Album, Asked, open_album
from app.visitors.comparison import Comparison, Marked
from app.visitors.question import Question
from core.retrieval.gallery import Adapter
from core.sglora.engine import Adaptation
from core.sglora.repository import ExpertRepository
from core.sglora.request import AdapterRequest
from core.sglora.teach import TaughtName


@dataclass(eq=False)
class Session:
    """The state of one tab.

    Attributes:
        album: the visitor's photos.
        request, adaptation: what was generated last, and from what; ``repository``: from which experts.
        comparison: what was asked last, to show it again with other columns or fewer rows.
        uncounted: the comparison whose recall the visitor wants no more.
        question: asked last. more: results that were asked for beyond the first ones.
        history: (query, description) asked, latest first.
        marks: by question, which photos the visitor marked as right or wrong; ``marked``: what was counted from them.
        on_names: the visitor's names, and adapters with them added, by the adapter's key.
        known: whether an event of this tab was there before. gone: why the album was emptied, until this tab was told.
        turn: held by the event that changes the answer. training: stops the one that runs; None: none does.
    """

    album: Album = field(default_factory=Album)
    request: AdapterRequest | None = None
    adaptation: Adaptation | None = None
    repository: ExpertRepository | None = None
    comparison: Comparison | None = None
    question: Question | None = None
    uncounted: Comparison | None = None
    more: int = 0
    history: list[tuple[str, str]] = field(default_factory=list)
    marks: dict[Question, dict[str, bool]] = field(default_factory=dict)
    marked: Marked = field(default_factory=Marked)
    on_names: tuple[tuple[TaughtName, ...], dict[str, Adapter]] = ((), {})
    known: bool = False
    gone: str = ""

    def __post_init__(self) -> None:
        self.turn = threading.Lock()  # no fields: Gradio copies those
        self.training: threading.Event | None = None
        self.album.enter(self)

    @property
    def worth(self) -> int:
        """What the visitor would lose: 0 nothing, 1 what a click brings back, 2 photos or experts."""
        album, shelf = self.album, self.album.samples
        if (album.photos and not album.has_samples_only) or album.aside or album.has_own:
            return 2
        made = self.adaptation is not None and (shelf is None or self.adaptation is not shelf.adaptation)
        return int(made or (album.shows_samples and shelf is None) or album.backbone != DEFAULT)

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        """Gradio copies the initial state for each new visitor: a copy starts empty, so nothing can leak."""
        return Session()

    @staticmethod
    def resume(token: object) -> Session:
        """A new tab's session, with the album of the same browser where it is still there (a reload, a second tab)."""
        album = open_album(token)
        if album is None:
            return Session(known=True)
        session, asked = Session(album=album, known=True), album.asked
        if asked is not None:
            session.request, session.question, session.history = asked.request, asked.question, list(asked.history)
            session.marks = {question: dict(marks) for question, marks in asked.marks.items()}
        return session

    @property
    def marks_of_words(self) -> Mapping[str, bool]:
        """The marks on the results of the last question, where that was words: what a name can be taught from."""
        asked = None if self.comparison is None else self.comparison.asked
        return self.marks.get(asked, {}) if asked is not None and asked.kind == "words" else {}

    def remember(self) -> None:
        """What this tab generated and asked last is what a reload shows."""
        self.album.asked = Asked(self.request, self.question, tuple(self.history), self.marks)

    def forget(self) -> None:
        """Forget what a tab showed; the album, which other tabs of that browser may hold, stays."""
        self.request = self.adaptation = self.repository = self.comparison = self.question = None
        self.uncounted = None
        self.history.clear()
        self.marks.clear()
        self.marked, self.on_names = Marked(), ((), {})


def leave(session: Session) -> None:
    """A tab is gone; with the last tab of a browser its album goes."""
    album = session.album
    album.leave(session)
    session.forget()
    if not album.sessions:
        album.close()
