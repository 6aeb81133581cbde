"""Everything that expert and generator training look at, in memory: cached maps, texts in the shared space, tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.backbones import EMBEDDED
from core.backbones.base import Backbone
from core.common.errors import DataError
from core.common.metrics import Relevance
from core.data import Sample, data_folders, read_folder
from core.training.categories import OBJECTS, category_tasks, class_tasks, distinct
from core.training.features import Features, image_features, text_features
from core.training.tasks import MIN_TRAIN, Task, caption_tasks, label_tasks, label_texts

VIEWS = 4  # and one where a photo's prefix is larger than this: four of COCO in ViT-B/16 would take 143 GB
LARGE_PREFIX = 64 * 1024
UNREADABLE_SHOWN = 20
Log = Callable[[str], None]


@dataclass(frozen=True)
class Batch:
    """Photos of one task with one text each.

    Attributes:
        maps: [n, *prefix_shape] float16. texts: [m, d] in the shared space. positive: [n, m] bool.
    """

    maps: Tensor
    texts: Tensor
    positive: Tensor


@dataclass(frozen=True)
class Pool:
    """Photos of all tasks, their cached maps and their texts.

    Attributes:
        maps: per view, prefix activations [n, *prefix_shape] float16 on disk. View 0 is the photo itself.
        texts: [t, d] all caption texts in the shared space.
        own_texts: per photo, rows of ``texts`` to train with; the first ``measured`` of them are its captions.
        labels: per photo, a number that equals for photos of one class (its own row for captioned photos).
        tasks: with rows into this pool.
        samples: the photos as they were read, for those who want the files; may be left out.
        unreadable: photos that are not among them.
    """

    maps: tuple[Features, ...]
    texts: Tensor
    text_strings: tuple[str, ...]
    own_texts: tuple[np.ndarray, ...]
    measured: tuple[int, ...]
    labels: np.ndarray
    tasks: tuple[Task, ...]
    samples: tuple[Sample, ...] = ()
    unreadable: tuple[Path, ...] = ()

    @staticmethod
    def of(
        samples: Sequence[Sample],
        tasks: Sequence[Task],
        maps: Sequence[Features],
        embed: Callable[[Sequence[str]], Tensor],
    ) -> Pool:
        """The pool of these photos.

        Args:
            tasks: with rows into ``samples``. maps: per view. embed: texts in the shared space, [t, d].
        """
        own = [s.captions or label_texts(s) for s in samples]
        strings = sorted({t for texts in own for t in texts})
        index = {t: i for i, t in enumerate(strings)}
        names = {label: -1 - i for i, label in enumerate(sorted({s.label for s in samples if s.label}))}
        return Pool(
            maps=tuple(maps),
            texts=embed(strings),
            text_strings=tuple(strings),
            own_texts=tuple(np.array([index[t] for t in texts]) for texts in own),
            measured=tuple(len(s.captions) or 1 for s in samples),
            labels=np.array([names[s.label] if s.label else row for row, s in enumerate(samples)]),
            tasks=tuple(tasks),
            samples=tuple(samples),
        )

    def tell_unreadable(self, log: Log) -> None:
        """List the photos that cannot be read; commands do so at their end, where people look."""
        if self.unreadable:
            shown = "".join(f"\n  {path}" for path in self.unreadable[:UNREADABLE_SHOWN])
            log(f"left out, since they cannot be read: {len(self.unreadable)} photos{shown}")

    def batch(self, task: Task, size: int, rng: np.random.Generator) -> Batch:
        """A random training batch: a random view, and a random text for every photo."""
        rows = rng.choice(task.train, min(size, len(task.train)), replace=False)
        view = self.maps[rng.integers(len(self.maps))]
        chosen = np.array([rng.choice(self.own_texts[r]) for r in rows])
        labels = self.labels[rows]
        positive = torch.from_numpy(labels[:, None] == labels[None, :])
        return Batch(view[torch.from_numpy(rows)], self.texts[torch.from_numpy(chosen)], positive)

    def evaluation(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Relevance]:
        """Maps [n, *prefix_shape] float16, distinct texts [m, d] and relevance of the photos at these rows."""
        captions = [[self.text_strings[i] for i in self.own_texts[r][: self.measured[r]]] for r in rows]
        relevance = Relevance.of(captions)
        first = {self.text_strings[i]: i for r in rows for i in self.own_texts[r][: self.measured[r]]}
        texts = self.texts[torch.tensor([first[t] for t in relevance.texts])]
        return self.maps[0][torch.from_numpy(rows)], texts, relevance


def load_pool(data: Path, backbone: Backbone, cache: Path, log: Log = print) -> Pool:
    """Read captioned and labelled photos and find their tasks.

    ``data`` is a data folder, or holds one per set (``flickr8k``, ``labelled``, …), of which `coco` is left to the
    embedded backbone's base and to measuring. Photos that cannot be read are left out; the pool names them.

    Raises:
        DataError: no task in it.
    """
    views = VIEWS if 2 * math.prod(backbone.prefix_shape) <= LARGE_PREFIX else 1
    left_out = {data / "coco"} if backbone.slug == EMBEDDED else set()
    samples: list[Sample] = []
    tasks: list[Task] = []
    unreadable: list[Path] = []
    kept_maps: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(views)]
    for folder in (f for f in data_folders(data) if f not in left_out):
        found = read_folder(folder, categories=True)
        arrays = [image_features(found, cache, view, log, backbone) for view in range(views)]
        readable = np.array([bool(first.any()) for first in arrays[0][:, 0]])  # else zeros; one position shows it
        unreadable += [found[i].path for i in np.flatnonzero(~readable)]
        useful = np.array([bool(s.captions) or (bool(s.label) and s.domain != OBJECTS) for s in found])
        keep = np.flatnonzero(useful & readable)
        for own, array in zip(kept_maps, arrays, strict=True):
            own.append((array, keep))
        kept = [found[i] for i in keep]
        new = tasks_of(kept, folder.name)
        tasks += [shifted(t, len(samples)) for t in new]
        samples += kept
        log(f"{folder.name}: {len(kept)} photos, {len(new)} tasks")
    tasks = distinct(tasks)
    if not tasks:
        failed = f" {len(unreadable)} photos cannot be read, {unreadable[0]} for one." if unreadable else ""
        raise DataError(
            f"No task was found in {data}: it is to be, or to hold, folders of captioned or labelled photos, and a task needs "
            f"{MIN_TRAIN} photos or more to train on.{failed}"
        )

    def embed(texts: Sequence[str]) -> Tensor:
        return backbone.text_from_sentences(text_features(texts, cache, log, backbone))

    pool = Pool.of(samples, tasks, [Features(parts) for parts in kept_maps], embed)
    return replace(pool, unreadable=tuple(unreadable))


def tasks_of(samples: Sequence[Sample], source: str) -> list[Task]:
    """The tasks of one data folder: of categories where it has some (the paper's way), else of captions; and of classes."""
    captioned = any(s.captions for s in samples)
    scenes = (category_tasks(samples, source) or caption_tasks(samples, source)) if captioned else []
    return [*scenes, *label_tasks(samples), *class_tasks(samples)]


def shifted(task: Task, offset: int) -> Task:
    """The task with its rows moved by ``offset``."""
    return replace(task, train=task.train + offset, stop=task.stop + offset, test=task.test + offset)


def without_photos(tasks: Sequence[Task], held: np.ndarray) -> list[Task]:
    """The tasks with the rows in ``held`` taken out of training and stopping."""
    return [replace(t, train=np.setdiff1d(t.train, held), stop=np.setdiff1d(t.stop, held)) for t in tasks]
