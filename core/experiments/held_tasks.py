"""Tasks to measure on: everyday scenes by the words of their captions, and parts of special domains' classes.

No training knows this list. A photo belongs to a scene when two of its captions name it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.common.paths import data_of
from core.training.corpus import OBJECTS, Corpus, draw
from core.training.label_styles import style_of

FEWEST = 50  # photos of a scene that are no test photos; and MEASURED to measure on
MEASURED = 5
NAMED_BY = 2
PARTS = {"aerial": 3, "clothing": 2, "flowers": 3, "food": 4, "grocery": 3, "scene": 3, "sports": 3, "texture": 2}

# Written by hand, for measuring alone; training finds its own topics.
_WRITTEN = data_of(__file__)
# By name, the "description" and the "words" that name it in a caption; of special domains with captions also the "domain".
SCENES: Mapping[str, Mapping[str, str]] = _WRITTEN["scenes"]
DOMAIN_SCENES: Mapping[str, Mapping[str, str]] = _WRITTEN["domains"]


@dataclass(frozen=True)
class HeldTask:
    """A task to measure on."""

    name: str
    description: str  # the sentence that is adapted to
    group: str  # "scenes" or the special domain
    rows: np.ndarray  # of all its photos in the corpus
    test: np.ndarray  # those of them to measure on


def named_rows(captions: Mapping[int, tuple[str, ...]], named: Mapping[str, str]) -> dict[str, np.ndarray]:
    """For each name, the rows of which NAMED_BY ``captions`` (all, where there are fewer) have one of the words ``named``."""
    spoken = {row: [set(re.findall(r"[a-z-]+", c.lower())) for c in own] for row, own in captions.items()}

    def rows(wanted: set[str]) -> list[int]:
        return [row for row, own in spoken.items() if sum(bool(wanted & w) for w in own) >= min(NAMED_BY, len(own))]

    return {name: np.array(rows(set(listed.split())), dtype=np.int64) for name, listed in named.items()}


def scene_rows(captions: Mapping[int, tuple[str, ...]]) -> dict[str, np.ndarray]:
    """For each of SCENES, the rows whose captions name it."""
    return named_rows(captions, {name: scene["words"] for name, scene in SCENES.items()})


def captioned_domain_tasks(corpus: Corpus, known: bool = False) -> list[HeldTask]:
    """DOMAIN_SCENES that enough photos show, measured on all of them, or on those that trained nothing (``known``)."""
    tasks = []
    for name, scene in DOMAIN_SCENES.items():
        own = np.flatnonzero(corpus.captioned & (corpus.domains == scene["domain"]))
        rows = named_rows({int(r): corpus.samples[r].captions for r in own}, {name: scene["words"]})[name]
        test = rows[corpus.test[rows]] if known else rows
        if len(rows) >= FEWEST and len(test) >= MEASURED:
            tasks.append(HeldTask(name, scene["description"], scene["domain"], rows, test))
    return tasks


def scene_tasks(corpus: Corpus) -> list[HeldTask]:
    """The scenes that enough photos show, or COCO's categories where photos have some (paper); those of the test part
    measure."""
    captions = {int(r): corpus.samples[r].captions for r in np.flatnonzero(corpus.scenes)}
    tasks = []
    for name, rows in (corpus.categories or scene_rows(captions)).items():
        test = rows[corpus.test[rows]]
        if len(rows) - len(test) >= FEWEST and len(test) >= MEASURED:
            description = f"a photo of a {name}" if corpus.categories else SCENES[name]["description"]
            tasks.append(HeldTask(name, description, "scenes", rows, test))
    return tasks


def domain_tasks(corpus: Corpus, whole: bool = False) -> list[HeldTask]:
    """Parts of the classes of each special domain, described by some of their names; or, with ``whole``, one task a domain,
    with its phrase alone, measured on the photos that trained nothing."""
    tasks = []
    for domain, classes in sorted(corpus.classes.items()):
        if domain == OBJECTS:
            continue
        names = sorted(classes, key=lambda label: draw(f"{domain} {label}"))
        parts = 1 if whole else max(1, min(PARTS.get(domain, 1), len(names) // 3))
        for part in range(parts):
            own = sorted(names[part::parts])
            rows = np.concatenate([classes[label] for label in own])
            description = style_of(domain).phrase if whole else style_of(domain).of(own[:6])
            name = f"{domain}-{part + 1}" if parts > 1 else domain
            test = rows[corpus.test[rows]] if whole else rows
            tasks.append(HeldTask(name, description, domain, rows, test))
    return tasks
