"""What one tab shows: the last adapter, the last comparison, and the marks. Visitors never share it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from app.engines import DEFAULT
from app.visitors.album import Album, Asked, open_album
from app.visitors.comparison import Comparison, Marked
from app.visitors.question import Question
from core.common.errors import GalleryError, StudioError
from core.retrieval.adapter import Adapter
from core.retrieval.gallery import Photo
from core.retrieval.search import Recent
from core.sglora.engine import Adaptation
from core.sglora.repository import ExpertRepository
from core.sglora.request import AdapterRequest

MARKED_QUESTIONS = 20  # the latest whose marks are kept: each is asked again when marks are counted
KEPT_WITH_NAMES = 4  # adapters with names that are kept; the page compares three


class StillAdding(GalleryError):
    """The first photos are still being added. The question is asked again once they are there."""


@dataclass
class PhotosForName:
    """Photos chosen for the next name: by hand, and by ticks in the results that no name used yet."""

    by_hand: list[str] = field(default_factory=list)
    unused: set[str] = field(default_factory=set)  # ticked photos that are not chosen

    def all(self, ticked: Sequence[str]) -> list[str]:
        return list(dict.fromkeys([*self.by_hand, *(photo for photo in ticked if photo not in self.unused)]))

    def choose(self, photos: Sequence[str], ticked: Sequence[str]) -> None:
        """Choose exactly these photos, some of which may be ticked."""
        self.by_hand = [photo for photo in photos if photo not in ticked]
        self.unused = {photo for photo in ticked if photo not in photos}


@dataclass(eq=False)
class Session:
    """The state of one tab."""

    album: Album = field(default_factory=Album)
    request: AdapterRequest | None = None  # the last one
    adaptation: Adaptation | None = None  # the result of the request
    repository: ExpertRepository | None = None  # the experts that made it
    comparison: Comparison | None = None  # the last answer, to show it again with other columns or fewer rows
    question: Question | None = None  # the last one
    merge: bool = False  # whether answers have a column of the merged experts
    random: bool = False  # whether answers have a column of a random sentence
    uncounted: Comparison | None = None  # the comparison whose recall the visitor stopped
    listed: tuple[Photo, ...] = ()  # the photos that the tab's gallery shows
    adding: bool = False  # whether it adds photos, or has not yet shown them
    report: str = ""  # what became of the photos that it added last
    ready: bool = False  # whether the page shows the session
    opened: set[str] = field(default_factory=set)  # folded parts of the page that the tab has opened
    more: int = 0  # results that the visitor asked for beyond the first ones
    history: list[tuple[str, str]] = field(default_factory=list)  # (query, description) asked, latest first
    marks: dict[Question, dict[str, bool]] = field(default_factory=dict)  # photos marked as right or wrong, by question
    marked: Marked = field(default_factory=Marked)  # the counts from the marks
    for_name: PhotosForName = field(default_factory=PhotosForName)  # photos chosen for the next name
    name: str = ""  # the taught name that is selected
    known: bool = False  # whether this tab had an event before
    gone: str = ""  # why the app emptied the album; empty once this tab has shown it

    def __post_init__(self) -> None:
        self.turn = threading.Lock()  # held by the event that changes the answer; not a field, since Gradio copies fields
        self.on_names: Recent[Adapter] = Recent(KEPT_WITH_NAMES)  # adapters with names; not a field, since it has a lock
        self.training: threading.Event | None = None  # stops the running training
        self.album.enter(self)

    @property
    def worth(self) -> int:
        """What the visitor would lose: 0 nothing, 1 what a click brings back, 2 photos, names or own experts."""
        album = self.album
        if (album.photos and not album.has_samples_only) or album.aside or album.has_own:
            return 2
        samples = album.shows_samples and album.samples is None
        return int(self._own_adaptation is not None or samples or album.backbone != DEFAULT)

    @property
    def _own_adaptation(self) -> Adaptation | None:
        """The adaptation; None if it is the one that every visitor's page opens on."""
        shelf = self.album.samples
        return None if shelf is not None and self.adaptation is shelf.adaptation else self.adaptation

    @property
    def memory(self) -> int:
        """Bytes of the adapters that were made for this tab."""
        adaptation, adapters = self._own_adaptation, self.on_names.values
        loras = [] if adaptation is None else [adaptation.lora]
        if adaptation is not None and self.comparison is not None:
            adapters += [column.adapter for column in self.comparison.columns]
        loras += [lora for adapter in adapters for lora in (adapter.lora, adapter.base) if lora is not None]
        return 4 * sum({id(lora): lora.parameters for lora in loras}.values())  # in float32

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        """Return an empty session: Gradio copies the initial state for each new visitor, so nothing can leak."""
        return Session()

    @staticmethod
    def resume(token: object) -> Session:
        """The session of a new tab. A reload or a second tab gets the same browser's album, if it still exists."""
        session = Session(open_album(token) or Album(), known=True)
        if (asked := session.album.asked) is not None:
            session.request, session.question, history, all_marks = asked
            session.history, session.marks = list(history), {question: dict(marks) for question, marks in all_marks.items()}
        return session

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
        """Save what this tab generated and asked last, so that a reload shows it."""
        self.album.asked = Asked(self.request, self.question, tuple(self.history), self.marks)

    @contextmanager
    def unchanged_on_error(self) -> Iterator[None]:
        """Put adapter and question back after a StudioError other than ``StillAdding``: the page stays as it was, too."""
        before = self.request, self.adaptation, self.repository, self.question
        try:
            yield
        except StillAdding:
            raise
        except StudioError:
            self.request, self.adaptation, self.repository, self.question = before
            self.remember()
            raise

    def forget(self) -> None:
        """Forget what the tab showed. The album stays: other tabs of the browser may show it."""
        self.request = self.adaptation = self.repository = self.comparison = self.question = None
        self.uncounted, self.listed = None, ()
        self.history.clear()
        self.marks.clear()
        self.for_name, self.name = PhotosForName(), ""
        self.marked, self.on_names = Marked(), Recent(KEPT_WITH_NAMES)


def leave(session: Session) -> None:
    """End a tab. The album is emptied with the last tab of its browser."""
    session.forget()
    session.album.leave(session)
