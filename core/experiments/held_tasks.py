"""Tasks to measure on: everyday scenes by words in captions, and parts of the classes of special domains.

No training uses this list. A photo belongs to a scene if two of its captions name it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from core.common.paths import data_of
from core.training.corpus import OBJECTS, Corpus, draw
from core.training.label_styles import style_of

FEWEST, MEASURED = 50, 5  # photos of a scene besides the test photos, and test photos
NAMED_BY = 2  # captions of a photo that name its scene; all, if it has fewer
# Number of tasks that a domain's classes are divided into.
PARTS = {"aerial": 3, "clothing": 2, "flowers": 3, "food": 4, "grocery": 3, "scene": 3, "sports": 3, "texture": 2}

_WRITTEN = data_of(__file__)  # by hand, for measuring alone
# By name: "description", the "words" that name it in a caption, and for special domains the "domain".
SCENES: Mapping[str, Mapping[str, str]] = _WRITTEN["scenes"]
DOMAIN_SCENES: Mapping[str, Mapping[str, str]] = _WRITTEN["domains"]


@dataclass(frozen=True)
class HeldTask:
    name: str
    description: str  # the sentence to adapt to
    group: str  # "scenes" or the special domain
    rows: np.ndarray  # all its photos in the corpus
    test: np.ndarray  # the photos to measure on


def scene_rows(
    captions: Mapping[int, tuple[str, ...]], scenes: Mapping[str, Mapping[str, str]] = SCENES
) -> dict[str, np.ndarray]:
    """For each scene, the rows with one of its words in NAMED_BY ``captions`` or more (all, if there are fewer)."""
    words = {row: [set(re.findall(r"[a-z-]+", c.lower())) for c in texts] for row, texts in captions.items()}

    def rows(wanted: set[str]) -> list[int]:
        return [row for row, texts in words.items() if sum(bool(wanted & w) for w in texts) >= min(NAMED_BY, len(texts))]

    return {name: np.array(rows(set(scene["words"].split())), dtype=np.int64) for name, scene in scenes.items()}


def captioned_domain_tasks(corpus: Corpus, known: bool = False) -> Iterator[HeldTask]:
    """The DOMAIN_SCENES with enough photos, measured on all of these; if ``known``, on those that trained nothing."""
    for name, scene in DOMAIN_SCENES.items():
        domain = np.flatnonzero(corpus.captioned & (corpus.domains == scene["domain"]))
        rows = scene_rows({int(r): corpus.samples[r].captions for r in domain}, {name: scene})[name]
        test = rows[corpus.test[rows]] if known else rows
        if len(rows) >= FEWEST and len(test) >= MEASURED:
            yield HeldTask(name, scene["description"], scene["domain"], rows, test)


def scene_tasks(corpus: Corpus) -> Iterator[HeldTask]:
    """The SCENES with enough photos, or COCO's categories if photos have some (paper); measured on test photos."""
    captions = {int(r): corpus.samples[r].captions for r in np.flatnonzero(corpus.scenes)}
    for name, rows in (corpus.categories or scene_rows(captions)).items():
        test = rows[corpus.test[rows]]
        if len(rows) - len(test) >= FEWEST and len(test) >= MEASURED:
            description = f"a photo of a {name}" if corpus.categories else SCENES[name]["description"]
            yield HeldTask(name, description, "scenes", rows, test)


def domain_tasks(corpus: Corpus, whole: bool = False) -> Iterator[HeldTask]:
    """Parts of the classes of each special domain, described by some class names. With ``whole``: one task per domain,
    described by its phrase alone, measured on test photos."""
    for domain, classes in sorted(corpus.classes.items()):
        if domain == OBJECTS:
            continue
        names = sorted(classes, key=lambda label: draw(f"{domain} {label}"))
        parts = 1 if whole else max(1, min(PARTS.get(domain, 1), len(names) // 3))
        for part in range(parts):
            labels = sorted(names[part::parts])
            rows = np.concatenate([classes[label] for label in labels])
            description = style_of(domain).phrase if whole else style_of(domain).of(labels[:6])
            name = f"{domain}-{part + 1}" if parts > 1 else domain
            yield HeldTask(name, description, domain, rows, rows[corpus.test[rows]] if whole else rows)
