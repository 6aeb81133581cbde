"""What a visitor asks, and which photos are searched."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime

from app.languages import texts
from core.common.errors import DescriptionError, brief
from core.data.sample_photos import sample_sets
from core.sglora.request import AdapterRequest

# A value of the control “Search in”. A set of samples has its name, a library "library:NAME", or "both:NAME" with own photos.
OWN = "mine"


@dataclass(frozen=True)
class Scope:
    """Which photos are searched: own ones, the samples, a library, or own ones and a library; all, or those of a filter."""

    own: bool = True
    samples: str = ""  # the set of samples that is searched instead
    library: str = ""
    folder: str = ""  # a name in ``LibraryPhotos.folders`` or ``Photo.folder``; "": all folders
    since: date | None = None
    until: date | None = None  # included, like ``since``

    @property
    def filters(self) -> bool:
        return bool(self.folder or self.since or self.until)

    @property
    def value(self) -> str:
        """The value of the control “Search in”, also in the address."""
        if self.samples:
            return self.samples
        return OWN if not self.library else f"{'both' if self.own else 'library'}:{self.library}"

    @staticmethod
    def of(value: object, folder: object = "", since: object = "", until: object = "") -> Scope:
        """Read such a ``value``, and days such as 2024-05-31. Unreadable ones mean the visitor's own photos, without filter."""
        samples = str(value) if str(value) in sample_sets() else ""
        kind, _, name = str(value or "").partition(":")
        library = name if kind in ("both", "library") else ""
        own = not samples and (kind == "both" or not library)
        return Scope(own, samples, library, str(folder or ""), _day(since), _day(until))


def checked_day(text: object) -> date | None:
    """A day such as 2024-05-31, or as the visitor's language writes it; None for an empty text. Raises DescriptionError: when
    the text is no day."""
    if not (day := str(text or "").strip()):
        return None
    with suppress(ValueError):
        return date.fromisoformat(day)
    with suppress(ValueError):
        return datetime.strptime(day, texts.DAY_FORMAT).date()
    raise DescriptionError(texts.DAY_UNUSABLE.format(text=brief(day)))


def _day(text: object) -> date | None:
    with suppress(DescriptionError):
        return checked_day(text)
    return None


@dataclass(frozen=True)
class Question:
    kind: str  # "words"; "photo": find its captions; "similar": find photos like it
    what: str  # the words, or a photo's id
    file: str | None = None  # an uploaded photo
    scope: Scope = Scope()

    @staticmethod
    def words(query: str, scope: Scope = Scope()) -> Question:
        return Question("words", query, scope=scope)

    @staticmethod
    def photo(picked: str | None, file: str | None = None, scope: Scope = Scope()) -> Question:
        """Ask which captions describe an uploaded photo, or else a photo of the gallery."""
        return Question("photo", "" if file else picked or "", file, scope)


@dataclass(frozen=True)
class Asked:
    """What an answer depends on: the question, the adapter, and the columns to compare."""

    question: Question | None = None
    request: AdapterRequest | None = None  # None: no sentence
    merge: bool = False  # whether there is a column of the merged experts
    random: bool = False  # whether there is a column of a random sentence

    @property
    def words(self) -> str:
        """The words of the question; "" if it has none."""
        return self.question.what if self.question is not None and self.question.kind == "words" else ""

    @property
    def sentence(self) -> str:
        return "" if self.request is None else self.request.description
