"""Texts for people that `core` raises or returns: a key and the values of its fields.

The English texts are in `core/messages`, one file a room. An app looks the key up in another language.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "messages"


@dataclass(frozen=True)
class Message:
    """A text for people. ``str`` gives it in English. A key without a text stands for itself."""

    key: str
    fields: Mapping[str, object] = field(default_factory=dict)  # values may be messages themselves

    def __str__(self) -> str:
        return english()[self.key].format(**self.fields) if self.key in english() else self.key


def message(key: str, /, **fields: object) -> Message:
    return Message(key, fields)


@cache
def english() -> Mapping[str, str]:
    """The English text of every key."""
    texts: dict[str, str] = {}
    for file in sorted(FOLDER.glob("*.json")):
        texts |= json.loads(file.read_text(encoding="utf-8"))
    return texts
