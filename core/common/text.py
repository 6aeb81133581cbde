"""Text that people write: descriptions, names of experts, names of files."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import chain, count
from pathlib import PurePosixPath

from core.common.errors import DescriptionError, RepositoryError
from core.common.messages import Message

MAX_DESCRIPTION = 2_000  # characters
MAX_NAME = 60
MAX_FILE_NAME = 80
LONGEST = 1_000  # characters of a file name that are looked at: its first and last ones
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def one_line(text: str) -> str:
    """Put a text on one line: control characters and repeated white space become single spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def trimmed(word: str) -> str:
    """Put a name or keyword on one line, without the quotes and signs around it. "" for other JSON that a client may send."""
    return one_line(word).strip("\"“”'.,!?;: ") if isinstance(word, str) else ""


def printable(text: str) -> str:
    """Escape characters that would control a terminal or change the writing direction."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def without_controls(text: str) -> str:
    """Drop the characters that ``printable`` escapes."""
    return _CONTROL.sub("", text)


def safe_name(name: str) -> str:
    """Make a file name safe to show and to write: no folders, no control characters, at most MAX_FILE_NAME characters."""
    base = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    if len(base) > LONGEST:  # NFC takes quadratic time, and other threads wait: minutes for a name of 200 kB
        base = base[: LONGEST // 2] + base[-LONGEST // 2 :]
    base = one_line(unicodedata.normalize("NFC", base)).strip(".")
    if not base:
        return "photo"
    suffix = PurePosixPath(base).suffix[:10]
    return base if len(base) <= MAX_FILE_NAME else base[: MAX_FILE_NAME - len(suffix)] + suffix


def clean_text(text: str, what: str = "description") -> str:
    """Trim a description or query. Raises DescriptionError: when it has no letter or digit, or more than MAX_DESCRIPTION
    characters."""
    named = Message(what)
    if not isinstance(text, str):
        raise DescriptionError(f"The {what} must be a text.")
    if len(text) > MAX_DESCRIPTION:
        long = "The {what} has {n:,} characters; {most:,} is the most. One sentence about the photos is best."
        raise DescriptionError(long, what=named, n=len(text), most=MAX_DESCRIPTION)
    cleaned = one_line(text)
    if cleaned and not any(c.isalnum() for c in cleaned):
        signs = "The {what} has no letter or digit: say what the photos show, such as “photos of people surfing”."
        raise DescriptionError(signs, what=named)
    if not cleaned:
        raise DescriptionError("The {what} is empty: say what the photos show, such as “photos of people surfing”.", what=named)
    return cleaned


def clean_name(name: str) -> str:
    """Trim an expert's name. Raises RepositoryError: when it has no letter or digit, or more than MAX_NAME characters."""
    cleaned = one_line(str(name))
    if not any(c.isalnum() for c in cleaned):
        raise RepositoryError("The expert has no name: a word or two are enough, such as “my garden”.")
    if len(cleaned) > MAX_NAME:
        raise RepositoryError("The expert's name has {n} characters; {most} is the most.", n=len(cleaned), most=MAX_NAME)
    return cleaned


def listed(items: Sequence[str]) -> str:
    """Join items as “a, b and c”."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def free_name(wish: str, taken: Callable[[str], bool]) -> str:
    """The first of "wish", "wish 2", "wish 3", … that is not taken."""
    return next(name for name in chain([wish], (f"{wish} {number}" for number in count(2))) if not taken(name))
