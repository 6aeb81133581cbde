"""Every text of the page in one place, for review. ``texts.SEARCH`` is in the language of the current visitor.

They are in ``app/languages``, one file per language. Texts that stay English are in ``english.json`` (API, server, Evidence and
the drawer for researchers) and in ``about.md``. ``topics.json`` has the descriptions of the shipped experts, ``samples.json``
what is asked of the samples. The English texts of core are in ``core/messages``.
"""

from __future__ import annotations

import json
from pathlib import Path

from app import languages
from core.common.errors import StudioError
from core.common.messages import Message
from core.common.messages import english as of_core

ENGLISH_ONLY: dict[str, str] = json.loads(Path(__file__).with_name("english.json").read_text(encoding="utf-8"))
ABOUT = Path(__file__).with_name("about.md").read_text(encoding="utf-8")
STEPS = {"encode": "read the sentence", "route": "route", "prior": "prior", "decode": "decode"}
topic, of_sample = languages.topic, languages.of_sample


Text = Message | str  # a message, or a text that is in the visitor's language already


def __getattr__(name: str) -> str:
    if (text := _find(name)) is None:
        raise AttributeError(f"there is no text {name}")
    return text


def _find(name: str) -> str | None:
    for known in (languages.texts_in(languages.language()), ENGLISH_ONLY, of_core()):
        if name in known:
            return known[name]
    return None


def of(text: Message | StudioError | str) -> str:
    """A message, or that of an error, in the visitor's language. A text stays as it is, also in the place of a key."""
    if isinstance(text, StudioError):
        text = text.message
    if isinstance(text, str):
        return text
    fields = {name: of(value) if isinstance(value, Message | str) else value for name, value in text.fields.items()}
    return text.key if (words := _find(text.key)) is None else words.format(**fields)


def english(key: str) -> str:
    """A text in English, for files that other programs read."""
    with languages.speaking(languages.ENGLISH):
        return __getattr__(key)


def english_of(text: Message | str) -> str:
    with languages.speaking(languages.ENGLISH):
        return of(text)
