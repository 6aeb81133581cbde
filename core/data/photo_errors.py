"""Errors of photo files: the file's name, and the reason as a message of its own, which reports show without the name."""

from __future__ import annotations

from typing import Any

from core.common.errors import PhotoError, brief
from core.common.messages import Message, english, message


def photo_error(name: str, reason: str | Message, /, **fields: object) -> PhotoError:
    """The error of a photo file. ``reason``: a message, or the key of one with these fields."""
    return PhotoError("CORE_PHOTO", name=name, reason=message(reason, **fields) if isinstance(reason, str) else reason)


def reason_of(error: PhotoError) -> Message:
    """The reason of a ``photo_error``."""
    return error.message.fields["reason"]  # type: ignore[union-attr, return-value]


def as_json(reason: Message) -> list[Any]:
    """A reason for another process, as its key and fields."""
    return [reason.key, reason.fields]


def from_json(answer: Any) -> Message:
    """Read a reason of ``as_json`` from a process that is not trusted. Raises LookupError, ValueError, TypeError or
    AttributeError: when it has another form."""
    key, fields = answer
    reason = message(key, **{name: brief(value) for name, value in fields.items()})
    english()[key].format(**reason.fields)  # raises KeyError for an unknown message or a missing field
    return reason
