"""Densely sampled tasks: every training step has another one, so that the shared part also suits unlisted tasks.

A task is photos whose captions share a keyword, or two keywords joined by "and" or "or"; or some classes of a labelled domain.
Each comes with sentences that say what it is about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.common.errors import DataError
from core.training.corpus import OBJECTS, Corpus
from core.training.keywords import keyword_rows
from core.training.label_styles import style_of

SCENES = 0.65  # share of tasks that are found in captions
EITHER, BOTH = 0.3, 0.6  # of these: "a or b" below the first number, "a and b" below the second, else one keyword
FEWEST_BOTH = 12
CLASSES = (3, 25)


@dataclass(frozen=True)
class DenseTask:
    """One sampled task: rows of photos, and what it is about: keywords and conjunctions, or labels of a domain (else None)."""

    rows: np.ndarray
    words: tuple[str, ...]
    domain: str | None = None

    def sentence(self, corpus: Corpus, rng: np.random.Generator) -> str:
        """One of many ways to say what the task is about."""
        chance = rng.random()
        if self.domain is None:
            if chance < 0.25:
                return corpus.strings[rng.choice(corpus.own_texts[rng.choice(self.rows)])]
            return " ".join(self.words)
        if chance < 0.3 and self.domain != OBJECTS:
            return style_of(self.domain).phrase
        some = self.words[: rng.integers(1, min(6, len(self.words) + 1))]
        return style_of(self.domain).of(some) if chance < 0.7 else ", ".join(some)


class DenseTasks:
    """Samples tasks from the photos at ``allowed`` rows; ``least`` and ``most`` as for ``keyword_rows``. Raises DataError if
    there are neither keywords nor classes enough."""

    def __init__(self, corpus: Corpus, allowed: np.ndarray, least: int = 15, most: float = 0.35) -> None:
        self.keywords = keyword_rows(corpus, allowed, least, most)
        self._names = sorted(self.keywords)
        sets: dict[str, tuple[str, dict[str, np.ndarray]]] = {}  # a domain, and the rows of a set's classes
        for (domain, _), classes in corpus.sets.items():
            found = {label: rows[allowed[rows]] for label, rows in classes.items()}
            kept = {label: rows for label, rows in found.items() if len(rows) >= 2}
            if len(kept) >= CLASSES[0]:
                sets[f"{domain} {len(sets)}"] = domain, kept
        self._sets = [sets[name] for name in sorted(sets)]  # the order in which the seeds of shipped trainings draw them
        if not self._names and not self._sets:
            raise DataError(
                f"No task was found: no keyword names {least} photos or more, and no set has three classes to tell apart."
            )

    def sample(self, rng: np.random.Generator) -> DenseTask:
        """A random task."""
        scene = self._names and (not self._sets or rng.random() < SCENES)
        return self._scene(rng) if scene else self._label(rng)

    def _scene(self, rng: np.random.Generator) -> DenseTask:
        first = self._names[rng.integers(len(self._names))]
        rows, chance = self.keywords[first], rng.random()
        if chance < EITHER:
            other = self._names[rng.integers(len(self._names))]
            return DenseTask(np.union1d(rows, self.keywords[other]), (first, "or", other))
        for _ in range(5 if chance < BOTH else 0):
            other = self._names[rng.integers(len(self._names))]
            both = np.intersect1d(rows, self.keywords[other])
            if len(both) >= FEWEST_BOTH and other != first:
                return DenseTask(both, (first, "and", other))
        return DenseTask(rows, (first,))

    def _label(self, rng: np.random.Generator) -> DenseTask:
        domain, own = self._sets[rng.integers(len(self._sets))]
        labels = list(own)
        chosen = rng.choice(len(labels), min(len(labels), int(rng.integers(*CLASSES))), replace=False)
        picked = tuple(labels[i] for i in chosen)
        return DenseTask(np.concatenate([own[label] for label in picked]), picked, domain)
