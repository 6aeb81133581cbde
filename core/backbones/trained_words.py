"""The words of all texts that trained a model, and the words of a question that are not among them.

Distance to photos cannot tell whether a question has an answer: “unicorn eating a spaceship” is as near as many questions that
have one. But that no training text has these words is a fact that a visitor can judge.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from core.common.languages import language

LANGUAGES = ("English", "German", "French")  # of the training texts with Latin letters
_WORD = re.compile("[a-zß-ɏ]{2,}")  # Latin letters: Chinese has no spaces between words
_ENDINGS = ("", "s", "es", "e", "en", "ed", "ing")
# They say nothing about the content of a photo, so they do not make a question known.
_FUNCTION_WORDS = frozenset(
    """
    an and are as at be by for from has have he her his in into is it its my no not of off on or our out over she that the
    their them there these they this to under up was we were what which while who with you your
    mein meine meinen meiner unser unsere mon ma mes notre nos
    """.split()
)


def words_of(text: str) -> list[str]:
    """Words of two letters or more, in lower case, without function words."""
    return [word for word in _WORD.findall(text.casefold()) if word not in _FUNCTION_WORDS]


def unknown_words(text: str, trained: frozenset[str]) -> tuple[str, ...]:
    """The words of a text that no training text has, if they are more than half of its words; else (). Also () for a text in
    another language, or if ``trained`` (see ``load_words``) is empty."""
    if not trained or language(text) not in LANGUAGES:
        return ()
    words = list(dict.fromkeys(words_of(text)))
    unknown = [word for word in words if not _known(word, trained)]
    return tuple(unknown) if 2 * len(unknown) > len(words) else ()


def _known(word: str, trained: frozenset[str]) -> bool:
    stems = {word.removesuffix(ending) for ending in _ENDINGS}
    return any(stem + ending in trained for stem in stems for ending in _ENDINGS)


def save_words(texts: Iterable[str], path: Path) -> None:
    """Write the words of texts, one per line."""
    path.write_text("\n".join(sorted({word for text in texts for word in words_of(text)})) + "\n", encoding="utf-8")


def load_words(path: Path) -> frozenset[str]:
    """Read the file of ``save_words``; empty if there is none."""
    return frozenset(path.read_text(encoding="utf-8").split()) if path.is_file() else frozenset()
