"""Errors for users. The message says what is wrong, with which input, and what to do."""

from core.common.messages import Message

MAX_BRIEF = 80


def brief(value: object) -> str:
    """Shorten a value from a file or a visitor for an error message: one printable line, at most MAX_BRIEF characters."""
    text = value if isinstance(value, str) else repr(value) if isinstance(value, int | float) else type(value).__name__
    line = "".join(c if c.isprintable() else " " for c in text[: MAX_BRIEF + 1])
    return line if len(line) <= MAX_BRIEF else f"{line[: MAX_BRIEF - 1]}…"


class StudioError(Exception):
    """Base of all errors that users see: a message, or its English template and fields, which translations of it need."""

    def __init__(self, template: str | Message, /, **fields: object) -> None:
        self.message = Message(template, fields) if isinstance(template, str) else template
        super().__init__(str(self.message))


class UsageError(StudioError):
    """Command-line options that cannot be combined."""


class DescriptionError(StudioError):
    """A task description or query that cannot be used (empty, far too long)."""


class PhotoError(StudioError):
    """A file that cannot be read as a photo."""


class DataError(StudioError):
    """A data folder, captions file or label file that is missing or malformed."""


class RepositoryError(StudioError):
    """An expert repository or generator that is missing, damaged or made for another backbone."""


class AdapterError(StudioError):
    """An adapter that is malformed or was made for another backbone."""


class GalleryError(StudioError):
    """A request that the gallery cannot answer (nothing indexed yet, no captions, too many photos)."""


class LibraryError(StudioError):
    """A library of photos on disk that cannot be used: missing, damaged, of another backbone, or in use."""


class BackboneError(StudioError):
    """A backbone whose package, weights or checkpoint cannot be loaded."""
