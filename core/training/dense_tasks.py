"""Densely sampled tasks: each training step uses a new one, so the shared LoRA also suits unlisted tasks.

A task is photos whose captions have a keyword, or two keywords joined by "and" or "or"; or some classes of a labelled domain.
"""

import numpy as np

from core.common.errors import DataError
from core.training.corpus import Corpus
from core.training.keywords import keyword_rows

SCENES = 0.65  # share of tasks from captions
EITHER, BOTH = 0.3, 0.6  # of these, a draw below 0.3 gives "a or b", below 0.6 "a and b", else one keyword
FEWEST_BOTH = 12  # photos of "a and b"
CLASSES = (3, 25)  # of a label task: at least, and fewer than
LEAST, MOST = 15, 0.35  # photos of a keyword, and the largest share of the captioned ones


class DenseTasks:
    """Samples tasks from the training photos. Raises DataError: when no keyword and no data set is usable."""

    def __init__(self, corpus: Corpus) -> None:
        self.keywords = keyword_rows(corpus, LEAST, MOST)
        self._names = sorted(self.keywords)
        sets: dict[str, list[np.ndarray]] = {}  # rows of each class, by data set
        for (domain, _), classes in corpus.sets.items():
            usable = [own for rows in classes.values() if len(own := rows[corpus.train[rows]]) >= 2]
            if len(usable) >= CLASSES[0]:
                sets[f"{domain} {len(sets)}"] = usable
        self._sets = [sets[name] for name in sorted(sets)]  # this order keeps the seeds of shipped trainings valid
        if not self._names and not self._sets:
            raise DataError(f"No task was found: a keyword must name {LEAST} photos or more, or a set have three classes.")

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        scene = self._names and (not self._sets or rng.random() < SCENES)
        return self._scene(rng) if scene else self._label(rng)

    def _scene(self, rng: np.random.Generator) -> np.ndarray:
        first = self._names[rng.integers(len(self._names))]
        rows, chance = self.keywords[first], rng.random()
        if chance < EITHER:
            other = self._names[rng.integers(len(self._names))]
            return np.union1d(rows, self.keywords[other])
        for _ in range(5 if chance < BOTH else 0):
            other = self._names[rng.integers(len(self._names))]
            both = np.intersect1d(rows, self.keywords[other])
            if len(both) >= FEWEST_BOTH and other != first:
                return both
        return rows

    def _label(self, rng: np.random.Generator) -> np.ndarray:
        classes = self._sets[rng.integers(len(self._sets))]
        chosen = rng.choice(len(classes), min(len(classes), int(rng.integers(*CLASSES))), replace=False)
        return np.concatenate([classes[i] for i in chosen])
