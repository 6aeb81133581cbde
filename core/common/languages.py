"""Guess the language of a sentence: by its script, and within a script by function words and letters.

The sentence is one line about photos. That is too short for letter statistics, but it has function words.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from core.common.messages import Message, message
from core.common.paths import data_of

# The languages of the Universal Sentence Encoder, multilingual v3 (arXiv 1907.04307).
TOWER_LANGUAGES = frozenset(
    """
    Arabic Chinese Dutch English French German Italian Japanese Korean Polish Portuguese Russian Spanish Thai Turkish
    """.split()
)


# The signs of each language, by script (the first word of a letter's Unicode name). ``words`` are function words and words for
# photos. Spanish, Italian and Portuguese share function words with French ("en la", "un"), so they also have words for what
# photos often show: the map for French questions (``core.backbones.translations``) moves them away from English. ``letters`` do
# not exist in related languages. If counts are equal, the first language wins.
_SCRIPTS: Mapping[str, Mapping[str, Mapping[str, str]]] = data_of(__file__)
_ONE_LANGUAGE = {"CJK": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean", "DEVANAGARI": "Hindi"}
_READ = 500  # characters
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"(?<!['’.])\b[^\W\d_]+(?:'s)?\b(?!\.\w)")  # no word in "S.C.U.B.A."


def language(text: str) -> str:
    """The English name of the language that a sentence seems to be in, from its first 500 characters. A sentence without signs
    of another language is English, or in the first language of its script."""
    text = unicodedata.normalize("NFC", text[:_READ])
    scripts = Counter(unicodedata.name(letter, "?").partition(" ")[0] for letter in _LETTER.findall(text))
    if not scripts:
        return "English"
    if scripts["HIRAGANA"] + scripts["KATAKANA"]:
        scripts["HIRAGANA"] += scripts.pop("CJK", 0)  # Japanese uses Chinese characters too
    script = max(scripts, key=lambda name: scripts[name])
    languages = _SCRIPTS.get(script)
    if languages is None:
        return _ONE_LANGUAGE.get(script, script.capitalize())
    words = _WORD.findall(text)
    counts = {name: _count_signs(words, **signs) for name, signs in languages.items()}
    best = max(counts, key=lambda name: counts[name])
    # The app warns about a language that the tower does not know. That needs two signs, unless the sentence is one word: "phở
    # noodles" is English.
    least = 1 if best in TOWER_LANGUAGES else min(2, len(words))
    return best if counts[best] >= least else next(iter(languages))


def language_remark(description: str, known: Collection[str] = TOWER_LANGUAGES) -> Message | None:
    """Warn if the sentence seems to be in none of the known languages (English names)."""
    name = language(description)
    remark = "The sentence seems to be {language}, which the model does not know: try it in English."
    return None if name in known else message(remark, language=Message(name))


def _count_signs(sentence: Sequence[str], words: str, letters: str = "") -> int:
    """Count the words of a sentence that show a language. Letters of capitalised words do not count: any language may name
    "Tromsø"."""
    function_words, marks = set(words.split()), set(letters)
    return sum(w.casefold() in function_words or (w[0].islower() and not marks.isdisjoint(w)) for w in sentence)
