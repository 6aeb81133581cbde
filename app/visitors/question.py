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
    """Which photos are asked: the visitor's own, those of a library, or both; of these all, or those in a folder and of some
    days, both included.

    Attributes:
        folder: as ``LibraryPhotos.folders`` or ``Photo.folder`` call it; "": all of them.
    """

    own: bool = True
    library: str = ""
    folder: str = ""
    since: date | None = None
    until: date | None = None

    @property
    def value(self) -> str:
        """As the page's control and the address hold it."""
        return OWN if not self.library else f"{'both' if self.own else 'library'}:{self.library}"

    @staticmethod
    def of(value: object, folder: object = "", since: object = "", until: object = "") -> Within:
        """What a ``value`` says, and days such as 2024-05-31; the visitor's own, and all of them, where they say nothing."""
        kind, _, library = str(value or "").partition(":")
        known = library and kind in ("both", "library")
        return Within(not known or kind == "both", library if known else "", str(folder or ""), _day(since), _day(until))


def checked_day(text: object) -> date | None:
    """A day such as 2024-05-31; None for an empty text.

    Raises:
        DescriptionError: it is something else.
    """
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
    """What was asked.

    Attributes:
        kind: "words"; "photo", whose captions are looked for; "similar", photos like one.
        what: the words, or a photo's id. file: of another photo. within: which photos are asked.
    """

    kind: str
    what: str
    file: str | None = None
    within: Within = Within()

    @staticmethod
    def words(query: str, within: Within = Within()) -> Question:
        """Which photos words describe."""
        return Question("words", query, within=within)

    @staticmethod
    def photo(picked: str | None, file: str | None = None) -> Question:
        """Which captions describe a photo of the gallery, or that of a file, which goes first."""
        return Question("photo", "" if file else picked or "", file)
