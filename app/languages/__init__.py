"""The languages of the page, one file each, and the language of the current event or request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from string import Formatter

FOLDER = Path(__file__).parent
ENGLISH = "en"
TAGS = {"en": "en", "de": "de", "fr": "fr", "es": "es", "pt": "pt-BR", "zh": "zh-CN", "ja": "ja"}  # as browsers write them
OTHERS = tuple(code for code in TAGS if code != ENGLISH)
# Texts that are made in English anywhere, and translated when shown: those of core, those about the samples, and these.
SAMPLES = "SAMPLE_"
MADE_IN_ENGLISH = ("CORE_", SAMPLES)
ALSO_MADE_IN_ENGLISH = frozenset(
    """
    ZERO_SHOT MERGE RANDOM SHARED SG_LORA NAMES FORGOTTEN MADE_ROOM ASKED_PHOTOS ASKED_LIKE ASKED_CAPTIONS
    ZERO_SHOT_NOTE MERGE_NOTE RANDOM_NOTE SHARED_NOTE SG_LORA_NOTE NO_STRENGTH_NOTE NAMES_NOTE NAMES_NOTE_TOO
    """.split()
)
# Fields that hold such a text and are translated too. Other fields hold what a visitor wrote.
MESSAGES_INSIDE = frozenset("note what language typed known where".split())
LONGEST = 1_000  # characters of a header or a message that are read
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
    """The available language that an ``Accept-Language`` header prefers; else English."""
    best, liked = ENGLISH, 0.0
    for part in accepted[:LONGEST].split(","):
        tag, _, quality = part.partition(";")
        code = re.split("[-_]", tag.strip().lower())[0]
        number = re.fullmatch(r"\s*q\s*=\s*([01](?:\.\d{1,3})?)\s*", quality)
        how_much = float(number[1]) if number else 0.0 if quality else 1.0
        if code in TAGS and how_much > liked:
            best, liked = code, how_much
    return best


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


def translated(message: str) -> str:
    """Translate a message that was made in English into the current language. An unknown message stays as it is."""
    translations = texts_in(language())
    if language() == ENGLISH or len(message) > LONGEST:
        return message
    for name, pattern in _patterns():
        if match := pattern.fullmatch(message):
            values = {f: translated(value) if f in MESSAGES_INSIDE else value for f, value in match.groupdict().items()}
            return translations[name].format(**values)
    return message


def topic(description: str) -> str:
    """A shipped expert's description in the current language. Another one stays as it is."""
    return _topics().get(description, {}).get(language(), description)


@cache
def _topics() -> Mapping[str, Mapping[str, str]]:
    return json.loads((FOLDER.parent / "topics.json").read_text(encoding="utf-8"))


def original(words: str) -> str:
    """A question about the samples in English, like their captions. Other words stay as they are."""
    names = (name for name, text in texts_in(language()).items() if text == words and name.startswith(SAMPLES))
    return texts_in(ENGLISH).get(next(names, ""), words)


@cache
def _patterns() -> Sequence[tuple[str, re.Pattern[str]]]:
    """(name, pattern) of each text made in English, those with the longest fixed part first."""
    english = {
        name: text
        for name, text in texts_in(ENGLISH).items()
        if name.startswith(MADE_IN_ENGLISH) or name in ALSO_MADE_IN_ENGLISH
    }
    parts = {name: list(Formatter().parse(text)) for name, text in english.items()}
    fixed = {name: sum(len(words) for words, *_ in pieces) for name, pieces in parts.items()}
    return [(name, re.compile(_pattern(parts[name]), re.DOTALL)) for name in sorted(parts, key=lambda name: -fixed[name])]


def _pattern(pieces: Sequence[tuple[str, str | None, str | None, str | None]]) -> str:
    seen: set[str] = set()
    pattern = ""
    for words, field, *_ in pieces:
        pattern += re.escape(words)
        if field is not None:
            pattern += f"(?P={field})" if field in seen else f"(?P<{field}>.*?)"
            seen.add(field)
    return pattern
