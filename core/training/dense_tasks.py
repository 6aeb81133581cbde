"""Densely sampled tasks: each training step uses a new one, so the shared LoRA also suits unlisted tasks.

A task is photos whose captions have a keyword, or two keywords joined by "and" or "or"; or some classes of a labelled domain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.common.errors import DataError
from core.training.corpus import OBJECTS, Corpus
from core.training.keywords import keyword_rows
from core.training.label_styles import style_of

SCENES = 0.65  # share of tasks from captions
EITHER, BOTH = 0.3, 0.6  # of these, a draw below 0.3 gives "a or b", below 0.6 "a and b", else one keyword
FEWEST_BOTH = 12  # photos of "a and b"
CLASSES = (3, 25)  # of a label task: at least, and fewer than


@dataclass(frozen=True)
class DenseTask:
    """One sampled task."""

    rows: np.ndarray  # of photos
    words: tuple[str, ...]  # keywords and conjunctions, or labels of the domain
    domain: str | None = None  # None: a task from captions

    def sentence(self, corpus: Corpus, rng: np.random.Generator) -> str:
        """A random description of the task."""
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
    """Samples tasks from the ``allowed`` photos [n] bool; ``least`` and ``most`` as for ``keyword_rows``. Raises DataError:
    when no keyword and no data set is usable."""

    def __init__(self, corpus: Corpus, allowed: np.ndarray, least: int = 15, most: float = 0.35) -> None:
        self.keywords = keyword_rows(corpus, allowed, least, most)
        self._names = sorted(self.keywords)
        sets: dict[str, tuple[str, dict[str, np.ndarray]]] = {}  # domain, and rows by class, of each data set
        for (domain, _), classes in corpus.sets.items():
            usable = {label: rows[allowed[rows]] for label, rows in classes.items()}
            usable = {label: rows for label, rows in usable.items() if len(rows) >= 2}
            if len(usable) >= CLASSES[0]:
                sets[f"{domain} {len(sets)}"] = domain, usable
        self._sets = [sets[name] for name in sorted(sets)]  # this order keeps the seeds of shipped trainings valid
        if not self._names and not self._sets:
            raise DataError("CORE_NO_TASK", least=least)

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
        domain, classes = self._sets[rng.integers(len(self._sets))]
        labels = list(classes)
        chosen = rng.choice(len(labels), min(len(labels), int(rng.integers(*CLASSES))), replace=False)
        picked = tuple(labels[i] for i in chosen)
        return DenseTask(np.concatenate([classes[label] for label in picked]), picked, domain)
