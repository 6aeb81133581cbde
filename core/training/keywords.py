"""Keywords and phrases of photos, found in their captions without a list of subjects."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from core.common.paths import data_of
from core.common.text import listed
from core.training.corpus import Corpus

NAMED_BY = 2  # captions of a photo that must have a word; all, if it has fewer
PHRASE, MOST_PHRASES = 5, 3  # most words of a phrase, most phrases of a topic
ARTICLE = 0.3  # a name gets an article if captions put "a" or "an" before a larger share of its occurrences
FEWEST_PHRASE, SHARE_PHRASE = 5, 0.05  # fewest photos, and least share of a topic's photos, that have a phrase
_FUNCTION_WORDS = frozenset(data_of(__file__)["function words"].split())


def words(caption: str) -> set[str]:
    """Stems of a caption's words that may name something."""
    return {stem(w) for w in re.findall(r"[^\W\d_]{3,}", caption.lower()) if w not in _FUNCTION_WORDS}


def stem(word: str) -> str:
    """The singular of a regular plural; other words unchanged."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "is", "us")) else word


def photo_words(captions: tuple[str, ...]) -> set[str]:
    """Words in at least NAMED_BY of a photo's captions."""
    counts = Counter(word for caption in captions for word in words(caption))
    return {word for word, count in counts.items() if count >= min(NAMED_BY, len(captions))}


def keyword_rows(corpus: Corpus, least: int, most: float) -> dict[str, np.ndarray]:
    """Keywords with the rows of their training photos. A keyword has at least ``least`` photos, and at most the share ``most``
    of the captioned ones: a more common word says nothing."""
    rows: dict[str, list[int]] = defaultdict(list)
    usable = np.flatnonzero(corpus.train & corpus.scenes)
    for row in map(int, usable):
        for word in photo_words(corpus.samples[row].captions):
            rows[word].append(row)
    return {word: np.array(photos) for word, photos in sorted(rows.items()) if least <= len(photos) <= most * len(usable)}


def phrases(captions: Sequence[str]) -> set[str]:
    """All phrases of captions: two to PHRASE words in a row, without punctuation or a form of "to be". The first and the last
    word may name something: "snowy hill", "riding a bike", but not "on a bike"."""
    results = set()
    for caption in captions:
        for part in re.split(r"[^\w\s'-]+|\b(?:is|are|was|were)\b", caption.lower()):
            sequence = part.split()
            naming = [i for i, word in enumerate(sequence) if words(word)]
            results |= {" ".join(sequence[i : j + 1]) for i in naming for j in naming if 0 < j - i < PHRASE}
    return results


def common_phrases(corpus: Corpus, topics: Sequence[np.ndarray], required: Sequence[str]) -> Iterator[list[str]]:
    """For each topic (rows of photos), up to MOST_PHRASES phrases that are frequent in it and rarer in all training photos.
    Each contains the word that is ``required`` for the topic ("" for none)."""
    counts = [Counter(p for row in rows for p in phrases(corpus.samples[row].captions)) for rows in topics]
    frequent = [
        {p: n for p, n in count.items() if n >= max(FEWEST_PHRASE, SHARE_PHRASE * len(rows)) and (not word or word in words(p))}
        for count, rows, word in zip(counts, topics, required, strict=True)
    ]
    candidates = set().union(*frequent)
    usable = np.flatnonzero(corpus.train & corpus.scenes).tolist()
    overall = Counter(p for row in usable for p in phrases(corpus.samples[row].captions) if p in candidates)
    for count, rows in zip(frequent, topics, strict=True):
        scores = {}  # share times the squared log of share / overall share, times the root of the number of naming words
        for phrase, photos in count.items():
            share = photos / len(rows)
            excess = max(math.log(share * len(usable) / overall[phrase]), 0.0)
            scores[phrase] = round(share * excess**2 * math.sqrt(len(words(phrase))), 6)
        chosen: list[str] = []
        for phrase in sorted(scores, key=lambda p: (-scores[p], p)):
            if len(chosen) < MOST_PHRASES and not any(_alike(words(phrase), words(other)) for other in chosen):
                chosen.append(phrase)
        yield chosen


def photos_of(corpus: Corpus, rows: np.ndarray, names: Sequence[str]) -> str:
    """A description of photos from words or phrases of their captions, such as "photos of people riding a bike" or "photos of
    a brown dog and the beach"."""
    captions = " . ".join(caption.lower() for row in rows for caption in corpus.samples[row].captions)
    who = "dogs" if len(re.findall(r"\bdogs?\b", captions)) > len(rows) else "people"

    def phrase(name: str) -> str:
        if name.split()[0].endswith("ing"):
            return f"{who} {name}"
        total = len(re.findall(rf"\b{re.escape(name)}\b", captions)) or 1
        with_article = len(re.findall(rf"\ban? {re.escape(name)}\b", captions))
        article = "an" if name[0] in "aeiou" else "a"
        return f"{article} {name}" if with_article / total > ARTICLE else name

    return f"photos of {listed([phrase(name) for name in names[:2]])}"


def _alike(one: set[str], other: set[str]) -> bool:
    both = len(one & other)
    return both == min(len(one), len(other)) or 2 * both > len(one)
