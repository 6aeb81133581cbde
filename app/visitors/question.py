"""What a visitor asks, and of which photos."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import date

from app import texts
from core.common.errors import DescriptionError, brief

OWN = "mine"  # where to search: the visitor's own photos


@dataclass(frozen=True)
class Within:
    """Which photos are asked: the visitor's own, those of a library, or both; of these all, or some."""

    own: bool = True
    library: str = ""
    folder: str = ""  # as ``LibraryPhotos.folders`` or ``Photo.folder`` call it; "": all of them
    since: date | None = None
    until: date | None = None  # included, as ``since`` is

    @property
    def value(self) -> str:
        """As the page's control and the address hold it."""
        return OWN if not self.library else f"{'both' if self.own else 'library'}:{self.library}"

    @staticmethod
    def of(value: object, folder: object = "", since: object = "", until: object = "") -> Within:
        """What a ``value`` says, and days such as 2024-05-31; the visitor's own, and all of them, where they say nothing."""
        kind, _, library = str(value or "").partition(":")
        if kind not in ("both", "library"):
            kind, library = "both", ""
        return Within(not library or kind == "both", library, str(folder or ""), _day(since), _day(until))


def checked_day(text: object) -> date | None:
    """A day such as 2024-05-31; None for an empty text; raises DescriptionError for another one."""
    said = str(text or "").strip()
    try:
        return date.fromisoformat(said) if said else None
    except ValueError:
        raise DescriptionError(texts.DAY_UNUSABLE.format(text=brief(said))) from None


def _day(text: object) -> date | None:
    with suppress(DescriptionError):
        return checked_day(text)
    return None


@dataclass(frozen=True)
class Question:
    """What was asked."""

    kind: str  # "words"; "photo", whose captions are looked for; "similar", photos like one
    what: str  # the words, or a photo's id
    file: str | None = None  # of another photo
    within: Within = Within()

    @staticmethod
    def words(query: str, within: Within = Within()) -> Question:
        """Which photos words describe."""
        return Question("words", query, within=within)

    @staticmethod
    def photo(picked: str | None, file: str | None = None) -> Question:
        """Which captions describe a photo of the gallery, or that of a file, which goes first."""
        return Question("photo", "" if file else picked or "", file)
