"""What a visitor asks, and which photos are searched."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime

from app import texts
from core.common.errors import DescriptionError, brief
from core.common.text import read_day

OWN = "mine"  # value of the control: search the visitor's own photos


@dataclass(frozen=True)
class Within:
    """Which photos are searched: the visitor's own, a library's, or both; all of them, or those that pass the filters."""

    own: bool = True
    library: str = ""
    folder: str = ""  # a name in ``LibraryPhotos.folders`` or ``Photo.folder``; "": all folders
    since: date | None = None
    until: date | None = None  # included, like ``since``

    @property
    def filters(self) -> bool:
        """Whether it leaves out any of the photos."""
        return bool(self.folder or self.since or self.until)

    @property
    def value(self) -> str:
        """The value in the page's control and in the address."""
        return OWN if not self.library else f"{'both' if self.own else 'library'}:{self.library}"

    @staticmethod
    def of(value: object, folder: object = "", since: object = "", until: object = "") -> Within:
        """Read such a ``value``, and days such as 2024-05-31. Unreadable ones mean the visitor's own photos, without filter."""
        kind, _, library = str(value or "").partition(":")
        if kind not in ("both", "library"):
            kind, library = "both", ""
        return Within(not library or kind == "both", library, str(folder or ""), _day(since), _day(until))


def checked_day(text: object) -> date | None:
    """A day such as 2024-05-31, or as the visitor's language writes it; None for an empty text. Raises DescriptionError: when
    the text is no day."""
    day = str(text or "").strip()
    if not day:
        return None
    with suppress(ValueError):
        return read_day(day)
    with suppress(ValueError):
        return datetime.strptime(day, texts.DAY_FORMAT).date()
    raise DescriptionError(texts.DAY_UNUSABLE.format(text=brief(day)))


def _day(text: object) -> date | None:
    with suppress(DescriptionError):
        return checked_day(text)
    return None


@dataclass(frozen=True)
class Question:
    """What was asked."""

    kind: str  # "words"; "photo": find its captions; "similar": find photos like it
    what: str  # the words, or a photo's id
    file: str | None = None  # an uploaded photo
    within: Within = Within()

    @staticmethod
    def words(query: str, within: Within = Within()) -> Question:
        """Ask which photos the words describe."""
        return Question("words", query, within=within)

    @staticmethod
    def photo(picked: str | None, file: str | None = None) -> Question:
        """Ask which captions describe an uploaded photo, or else a photo of the gallery."""
        return Question("photo", "" if file else picked or "", file)
