"""Tasks without lists of our own: one per COCO category (the paper's way), and parts of any labelled set's classes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.data import Sample
from core.training.draws import draw
from core.training.tasks import DOMAINS, EVERYDAY, EVERYDAY_DESCRIPTION, MIN_TRAIN, Task, captioned_parts, style_of

OBJECTS = "objects"  # the domain of everyday objects, which the embedded base has seen already
MIN_MEASURED = 5  # photos to stop on, and to measure on
CLASSES = 6  # of one task of a labelled set, about


def category_tasks(samples: Sequence[Sample], source: str, min_train: int = MIN_TRAIN) -> list[Task]:
    """A task per category: the photos that show an object of it; and EVERYDAY for all photos (paper, COCO tasks).

    ``captioned_parts`` says which photos train, stop and measure.
    """
    parts = captioned_parts(samples)
    tasks = []
    for category in sorted({c for s in samples for c in s.categories}):
        member = np.array([category in s.categories for s in samples])
        rows = [np.flatnonzero(member & part) for part in parts]
        if len(rows[0]) >= min_train and min(len(rows[1]), len(rows[2])) >= MIN_MEASURED:
            article = "an" if category[0] in "aeiou" else "a"
            tasks.append(Task(_file_name(category), f"a photo of {article} {category}", "scenes", source, *rows))
    if tasks:
        tasks.append(Task(EVERYDAY, EVERYDAY_DESCRIPTION, "scenes", source, *map(np.flatnonzero, parts)))
    return tasks


def class_tasks(samples: Sequence[Sample], held_share: float = 0.25, min_train: int = MIN_TRAIN // 2) -> list[Task]:
    """Tasks of labelled photos of domains that DOMAINS does not know: each domain's classes are dealt into parts of CLASSES.

    In every task a share of the classes trains nothing: half of those photos stop the training, half measure. Photos of
    splits "val" and "test" only measure.
    """
    by_domain: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, s in enumerate(samples):
        if s.label and s.domain not in (*DOMAINS, OBJECTS):
            by_domain[s.domain][s.label].append(row)
    tasks = []
    for domain, classes in sorted(by_domain.items()):
        names = sorted(classes, key=lambda c: draw(f"{domain} {c}"))
        count = max(1, round(len(names) / CLASSES))
        for part in range(count if len(names) > 1 else 0):
            own = sorted(names[part::count])
            held = set(sorted(own, key=lambda c: draw(f"held {c}"))[: max(1, round(held_share * len(own)))])
            train, stop, test = [], [], []
            for label in own:
                for row in classes[label]:
                    chance = draw(f"{label}/{samples[row].path.name}")  # 1.jpg may be there once per class
                    measured = samples[row].split in ("val", "test")
                    stopping = not measured and chance < (0.5 if label in held else 0.15)
                    trains = not measured and label not in held and chance < 0.75
                    (stop if stopping else train if trains else test).append(row)
            if len(train) < min_train or min(len(stop), len(test)) < MIN_MEASURED:
                continue
            trained = tuple(c for c in own if c not in held)
            name = _file_name(domain) or "classes"
            name = f"{name}-{part + 1}" if count > 1 else name
            description = f"{style_of(domain).phrase}: {', '.join(trained[:CLASSES])}"
            rows = (np.array(part) for part in (train, stop, test))
            tasks.append(Task(name, description, domain, samples[train[0]].dataset or domain, *rows, classes=trained))
    return tasks


def distinct(tasks: Sequence[Task]) -> list[Task]:
    """Tasks of several data folders side by side: one EVERYDAY for all of them, and a name of its own for every other."""
    found: dict[str, Task] = {}
    for task in tasks:
        first = found.get(task.name)
        if first is None:
            found[task.name] = task
        elif task.name == EVERYDAY:
            rows = {k: np.concatenate([getattr(first, k), getattr(task, k)]) for k in ("train", "stop", "test")}
            found[EVERYDAY] = replace(first, source=f"{first.source}, {task.source}", **rows)
        else:
            name, number = f"{task.name} ({_file_name(task.source)})", 1
            while name in found:
                name, number = f"{task.name} ({_file_name(task.source)} {number + 1})", number + 1
            found[name] = replace(task, name=name)
    return list(found.values())


def _file_name(name: str) -> str:
    """The name without what a file name may not hold: snapshots are kept under it."""
    return re.sub(r"[^\w ()-]", "-", name)
