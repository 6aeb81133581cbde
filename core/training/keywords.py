"""Words that name what photos show, found in their captions; no list of subjects is given."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np

from core.training.corpus import Corpus

NAMED_BY = 2  # captions of a photo that must have a word; all, where it has fewer
_FUNCTION_WORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "in",
        "on",
        "at",
        "of",
        "with",
        "and",
        "or",
        "to",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "being",
        "his",
        "her",
        "their",
        "its",
        "it",
        "he",
        "she",
        "they",
        "them",
        "him",
        "who",
        "which",
        "that",
        "this",
        "these",
        "those",
        "there",
        "as",
        "by",
        "for",
        "from",
        "into",
        "onto",
        "near",
        "next",
        "over",
        "under",
        "through",
        "while",
        "up",
        "down",
        "out",
        "off",
        "around",
        "behind",
        "front",
        "along",
        "across",
        "against",
        "between",
        "some",
        "one",
        "two",
        "three",
        "four",
        "several",
        "other",
        "another",
        "each",
        "all",
        "both",
        "not",
        "no",
        "has",
        "have",
        "having",
        "very",
    ]
)


def words(caption: str) -> set[str]:
    """Stems of a caption's words that may name something."""
    return {stem(w) for w in re.findall(r"[^\W\d_]{3,}", caption.lower()) if w not in _FUNCTION_WORDS}


def stem(word: str) -> str:
    """The singular of a regular plural; other words as they are."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "is", "us")) else word


def photo_words(captions: tuple[str, ...]) -> set[str]:
    """Words that NAMED_BY of a photo's captions have."""
    counts = Counter(word for caption in captions for word in words(caption))
    return {word for word, count in counts.items() if count >= min(NAMED_BY, len(captions))}


def keyword_rows(corpus: Corpus, allowed: np.ndarray, least: int, most: float) -> dict[str, np.ndarray]:
    """Words with the rows of the photos that they name, for words with ``least`` photos or more.

    Args:
        allowed: [n] bool, rows that count. most: share of the captioned ones above which a word says nothing.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    usable = np.flatnonzero(allowed & corpus.captioned)
    for row in map(int, usable):
        for word in photo_words(corpus.samples[row].captions):
            rows[word].append(row)
    return {word: np.array(own) for word, own in sorted(rows.items()) if least <= len(own) <= most * len(usable)}
