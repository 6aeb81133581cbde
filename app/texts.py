"""Every text of the page in one place, for review. ``texts.SEARCH`` is in the language of the current visitor.

They are in ``app/languages``, one file per language. Texts that stay English are in ``english.json`` (API, server, Evidence and
the drawer for researchers) and in ``about.md``. ``topics.json`` has the descriptions of the shipped experts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from app import languages

ENGLISH_ONLY: dict[str, str] = json.loads(Path(__file__).with_name("english.json").read_text(encoding="utf-8"))
ABOUT = Path(__file__).with_name("about.md").read_text(encoding="utf-8")
STEPS = {"encode": "read the sentence", "route": "route", "prior": "prior", "decode": "decode"}


def __getattr__(name: str) -> str:
    for language_texts in (languages.texts_in(languages.language()), ENGLISH_ONLY):
        if name in language_texts:
            return language_texts[name]
    raise AttributeError(f"there is no text {name}")


# Always English: for texts that are kept, compared, or made for another visitor.
ENGLISH = SimpleNamespace(**languages.texts_in(languages.ENGLISH))
translated, original, topic = languages.translated, languages.original, languages.topic


def listed(items: Sequence[str]) -> str:
    """“a, b and c”."""
    *most, last = items
    return __getattr__("LIST_AND").format(items=__getattr__("LIST_COMMA").join(most), last=last) if most else last
