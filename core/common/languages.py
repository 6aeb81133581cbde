"""Which language a sentence seems to be in: by its script, and within a script by function words and letters.

A sentence is one line about photos. It is too short for statistics over letters, and function words are what it has for sure.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from core.common.paths import data_of

# The languages of the Universal Sentence Encoder, multilingual v3 (arXiv 1907.04307).
TOWER_LANGUAGES = frozenset(
    """
    Arabic Chinese Dutch English French German Italian Japanese Korean Polish Portuguese Russian Spanish Thai Turkish
    """.split()
)


# What languages are told apart in: a script as Unicode names its letters, and its languages. What shows a language are function
# words (and words for photos), and letters that its neighbours do not have. Of equal counts the first language is taken.
_SCRIPTS: Mapping[str, Mapping[str, Mapping[str, str]]] = data_of(__file__)
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
    found = {name: _shown(words, **signs) for name, signs in languages.items()}
    best = max(found, key=lambda name: found[name])
    # What leads to a remark needs more than one sign in a sentence of several words: "phở noodles" is English.
    least = 1 if best in TOWER_LANGUAGES else min(2, len(words))
    return best if found[best] >= least else next(iter(languages))


def _shown(spoken: Sequence[str], words: str, letters: str = "") -> int:
    """In how many words a language shows. A name with a capital letter is no sign: "Tromsø" may stand in any language."""
    own, marks = set(words.split()), set(letters)
    return sum(w.casefold() in own or (w[0].islower() and not marks.isdisjoint(w)) for w in spoken)
