"""The languages of the page, one file each, and the language of the current event or request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from string import Formatter

FOLDER = Path(__file__).parent
ENGLISH = "en"
TAGS = {"en": "en", "de": "de", "fr": "fr", "es": "es", "pt": "pt-BR", "zh": "zh-CN", "ja": "ja"}  # as browsers write them
LONGEST = 1_000  # characters of a header that are read
_current: ContextVar[str] = ContextVar("language", default=ENGLISH)


class _Numbers(Formatter):
    """Formats numbers with the separators in a language's texts."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._signs = str.maketrans({",": texts["NUMBER_THOUSANDS"], ".": texts["NUMBER_DECIMALS"]})

    def format_field(self, value: object, format_spec: str) -> str:
        shown = super().format_field(value, format_spec)
        return shown.translate(self._signs) if isinstance(value, int | float) else shown


class Text(str):
    """A text whose fields are formatted as its language does."""

    numbers: _Numbers

    @classmethod
    def of(cls, words: str, numbers: _Numbers) -> Text:
        text = cls(words)
        text.numbers = numbers
        return text

    def format(self, *args: object, **fields: object) -> str:
        return self.numbers.format(str(self), *args, **fields)


def language() -> str:
    """The language of the visitor whose event or request is handled; else English."""
    return _current.get()


@contextmanager
def speaking(code: str) -> Iterator[None]:
    """Use this language in this task and in the threads that it starts through asyncio."""
    token = _current.set(code)
    try:
        yield
    finally:
        _current.reset(token)


def wanted(accepted: str) -> str:
    """The language that an ``Accept-Language`` header likes best, if it is available; else English, as Gradio's labels."""
    best, liked = ENGLISH, 0.0
    for part in accepted[:LONGEST].split(","):
        tag, _, quality = part.partition(";")
        number = re.fullmatch(r"\s*q\s*=\s*([01](?:\.\d{1,3})?)\s*", quality)
        how_much = float(number[1]) if number else 0.0 if quality else 1.0
        if how_much > liked and tag.strip():
            best, liked = re.split("[-_]", tag.strip().lower())[0], how_much
    return best if best in TAGS else ENGLISH


@cache
def texts_in(code: str) -> Mapping[str, str]:
    """All texts in a language. A text without a translation is in English."""
    english = _read(ENGLISH)
    if code == ENGLISH:
        return english
    translations = _read(code)
    numbers = _Numbers(english | translations)
    return english | {name: Text.of(words, numbers) for name, words in translations.items()}


def _read(code: str) -> dict[str, str]:
    return json.loads((FOLDER / f"{code}.json").read_text(encoding="utf-8"))


def topic(description: str) -> str:
    """A shipped expert's description in the current language. Another one stays as it is."""
    return _translated("topics").get(description, {}).get(language(), description)


def of_sample(words: str) -> str:
    """A title, sentence, question or name of the samples in the current language. Other words stay as they are."""
    return _translated("samples").get(words, {}).get(language(), words)


@cache
def _translated(file: str) -> Mapping[str, Mapping[str, str]]:
    return json.loads((FOLDER.parent / f"{file}.json").read_text(encoding="utf-8"))
