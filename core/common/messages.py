"""Texts for people that `core` raises or returns: an English template and the values of its fields.

An app finds a translation by the template, as gettext does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Message:
    """A text for people. ``str`` gives it in English. A text without fields is not formatted: it may hold braces."""

    template: str
    fields: Mapping[str, object] = field(default_factory=dict)  # values may be messages themselves

    def __str__(self) -> str:
        return self.template.format(**self.fields) if self.fields else self.template


def message(template: str, /, **fields: object) -> Message:
    return Message(template, fields)
