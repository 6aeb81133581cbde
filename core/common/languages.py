"""Which language a sentence seems to be in: by its script, and within a script by function words and letters.

A sentence is one line about photos. It is too short for statistics over letters, and function words are what it has for sure.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

from core.common.paths import data_of

# The languages of the Universal Sentence Encoder, multilingual v3 (arXiv 1907.04307).
TOWER_LANGUAGES = frozenset(
    """
    Arabic Chinese Dutch English French German Italian Japanese Korean Polish Portuguese Russian Spanish Thai Turkish
    """.split()
)


class _Signs:
    """What shows a language: function words (and words for photos), and letters that its neighbours do not have."""

    def __init__(self, words: str, letters: str = "") -> None:
        self.words, self.letters = frozenset(words.split()), frozenset(letters)

    def count(self, words: list[str]) -> int:
        """In how many words it shows. A name with a capital letter is no sign: "Tromsø" may stand in any language."""
        return sum(w.casefold() in self.words or (w[0].islower() and not self.letters.isdisjoint(w)) for w in words)


# What languages are told apart in: a script as Unicode names its letters, and its languages. Of languages with equal counts the
# first one is taken.
_SCRIPTS: Mapping[str, Mapping[str, _Signs]] = {
    script: {name: _Signs(**signs) for name, signs in languages.items()} for script, languages in data_of(__file__).items()
}
_ONE_LANGUAGE = {"CJK": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean", "DEVANAGARI": "Hindi"}
_READ = 500  # characters
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"(?<!['’.])\b[^\W\d_]+(?:'s)?\b(?!\.\w)")  # of "S.C.U.B.A." none


def language(text: str) -> str:
    """The language that a sentence seems to be in, by its English name.

    Without a sign of another one it is English, or the first language of its script; only the first 500 characters are read.
    """
    text = unicodedata.normalize("NFC", text[:_READ])
    scripts = Counter(unicodedata.name(letter, "?").partition(" ")[0] for letter in _LETTER.findall(text))
    if not scripts:
        return "English"
    if scripts["HIRAGANA"] + scripts["KATAKANA"]:
        scripts["HIRAGANA"] += scripts.pop("CJK", 0)  # Japanese is written with Chinese characters, too
    script = max(scripts, key=lambda each: scripts[each])
    languages = _SCRIPTS.get(script)
    if languages is None:
        return _ONE_LANGUAGE.get(script, script.capitalize())
    words = _WORD.findall(text)
    found = {name: signs.count(words) for name, signs in languages.items()}
    best = max(found, key=lambda name: found[name])
    # What leads to a remark needs more than one sign in a sentence of several words: "phở noodles" is English.
    least = 1 if best in TOWER_LANGUAGES else min(2, len(words))
    return best if found[best] >= least else next(iter(languages))
