"""The languages of the page, one file each, and the language of the current event or request."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

FOLDER = Path(__file__).parent
ENGLISH = "en"
TAGS = {"en": "en", "de": "de", "fr": "fr", "es": "es", "pt": "pt-BR", "zh": "zh-CN", "ja": "ja"}  # as browsers write them
_current: ContextVar[str] = ContextVar("language", default=ENGLISH)


class _Numbers(Formatter):
    def __init__(self, texts: Mapping[str, str]) -> None:
        self._signs = str.maketrans({",": texts["NUMBER_THOUSANDS"], ".": texts["NUMBER_DECIMALS"]})

    def format_field(self, value: object, format_spec: str) -> str:
        shown = super().format_field(value, format_spec)
        return shown.translate(self._signs) if isinstance(value, int | float) else shown


class Text(str):
    numbers: _Numbers

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
    """The language that an ``Accept-Language`` header names first, as Gradio's labels, if it is available; else English."""
    code = re.split("[-_,;]", accepted.strip().lower(), maxsplit=1)[0].strip()
    return code if code in TAGS else ENGLISH


@cache
def texts_in(code: str) -> Mapping[str, str]:
    translations = {name: Text(words) for name, words in read(code).items()}
    numbers = _Numbers(translations)
    for text in translations.values():
        text.numbers = numbers
    return translations


def topic(description: str) -> str:
    """A shipped expert's description in the current language. Another one stays as it is."""
    return read("topics").get(description, {}).get(language(), description)


def of_sample(words: str) -> str:
    """A title, sentence, question or name of the samples in the current language. Other words stay as they are."""
    return read("samples").get(words, {}).get(language(), words)


@cache
def read(file: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{file}.json").read_text(encoding="utf-8"))
