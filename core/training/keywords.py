"""Words that name what photos show, found in their captions; no list of subjects is given."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from core.common.paths import data_of
from core.common.text import listed
from core.training.corpus import Corpus

NAMED_BY = 2  # captions of a photo that must have a word; all, where it has fewer
PHRASE, MOST_PHRASES = 5, 3  # words of a phrase, and phrases of a topic, at most
ARTICLE = 0.3  # share of its places where a name has an article in front, from which on it gets one
FEWEST_PHRASE, SHARE_PHRASE = 5, 0.05  # photos of a topic, and share of them, whose captions must have a phrase
_FUNCTION_WORDS = frozenset(data_of(__file__)["function words"].split())


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
    """Words with the rows of the photos that they name, among the ``allowed`` ones [n] bool: words with ``least`` photos or
    more, but no more than the share ``most`` of those with captions, above which a word says nothing."""
    rows: dict[str, list[int]] = defaultdict(list)
    usable = np.flatnonzero(allowed & corpus.scenes)
    for row in map(int, usable):
        for word in photo_words(corpus.samples[row].captions):
            rows[word].append(row)
    return {word: np.array(own) for word, own in sorted(rows.items()) if least <= len(own) <= most * len(usable)}


def phrases(captions: Sequence[str]) -> set[str]:
    """Two to PHRASE words of a caption in a row, without punctuation or a form of "to be" in between, that begin and end with
    one that may name something: "snowy hill", "riding a bike", but not "on a bike"."""
    found = set()
    for caption in captions:
        for part in re.split(r"[^\w\s'-]+|\b(?:is|are|was|were)\b", caption.lower()):
            spoken = part.split()
            naming = [i for i, word in enumerate(spoken) if words(word)]
            found |= {" ".join(spoken[i : j + 1]) for i in naming for j in naming if 0 < j - i < PHRASE}
    return found


def common_phrases(corpus: Corpus, topics: Sequence[np.ndarray], required: Sequence[str]) -> list[list[str]]:
    """For each topic, rows of photos, up to MOST_PHRASES phrases that many of their captions have in common and those of other
    training photos do not; all with the word that is ``required`` ("" for none)."""
    counts = [Counter(p for row in rows for p in phrases(corpus.samples[row].captions)) for rows in topics]
    kept = [
        {p: n for p, n in own.items() if n >= max(FEWEST_PHRASE, SHARE_PHRASE * len(rows)) and (not word or word in words(p))}
        for own, rows, word in zip(counts, topics, required, strict=True)
    ]
    candidates = set().union(*kept)
    usable = np.flatnonzero(corpus.train & corpus.scenes).tolist()
    overall = Counter(p for row in usable for p in phrases(corpus.samples[row].captions) if p in candidates)
    found = []
    for own, rows in zip(kept, topics, strict=True):

        def score(phrase: str, own: dict[str, int] = own, photos: int = len(rows)) -> float:
            """Share times the squared logarithm of its excess, more for what says more."""
            share = own[phrase] / photos
            excess = max(math.log(share * len(usable) / overall[phrase]), 0.0)
            return round(share * excess**2 * math.sqrt(len(words(phrase))), 6)

        chosen: list[str] = []
        for phrase in sorted(own, key=lambda p: (-score(p), p)):
            if len(chosen) < MOST_PHRASES and not any(_alike(words(phrase), words(other)) for other in chosen):
                chosen.append(phrase)
        found.append(chosen)
    return found


def photos_of(corpus: Corpus, rows: np.ndarray, names: Sequence[str]) -> str:
    """What a person would call these photos, after words or phrases of their captions: "photos of people riding a bike",
    "photos of a brown dog and the beach"."""
    captions = " . ".join(caption.lower() for row in rows for caption in corpus.samples[row].captions)
    who = "dogs" if len(re.findall(r"\bdogs?\b", captions)) > len(rows) else "people"

    def spoken(name: str) -> str:
        if name.split()[0].endswith("ing"):
            return f"{who} {name}"
        all_in_all = len(re.findall(rf"\b{re.escape(name)}\b", captions)) or 1
        counted = len(re.findall(rf"\ban? {re.escape(name)}\b", captions))
        article = "an" if name[0] in "aeiou" else "a"
        return f"{article} {name}" if counted / all_in_all > ARTICLE else name

    return f"photos of {listed([spoken(name) for name in names[:2]])}"


def _alike(one: set[str], other: set[str]) -> bool:
    both = len(one & other)
    return both == min(len(one), len(other)) or 2 * both > len(one)
