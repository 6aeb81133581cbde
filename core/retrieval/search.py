"""Search: embed the question with the adapter, then search the index of the photos as the adapter sees them.

One index answers all adapters that adapt texts only, or move photos by the backbone's shared LoRA only (``columns``). Other
adapters need every photo embedded again from its prefix activations. A gallery does this (``PhotoIndexes``); a library on disk
rejects such adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from core.backbones.base import Backbone
from core.common.errors import DescriptionError
from core.common.lazy import lazy
from core.names.everyday import EverydayPhotos
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import asked, embeddings, photo_rows, width
from core.retrieval.index import Index
from core.retrieval.popularity import spread_rows
from core.retrieval.questions import EncodedQuery

SUFFIX_BATCH = 32  # small enough for the caches: 20 % faster than 128 on one core
MOST_RANKED = 50_000  # of a library's zero-shot ranking, to compare ranks with
BACKGROUND, FEWEST = 5_000, 20  # most and fewest photos of a ``background``
KEPT_ADAPTERS = 4  # the page compares three at once
NONE_LEFT = "CORE_FILTERED"  # key of the message that no photo passes a filter

T = TypeVar("T", bound=Any)


@dataclass(frozen=True)
class Where:
    """A filter: photos in ``folder`` or below it, taken from ``since`` to ``until``, both days included. Raises
    DescriptionError: when ``since`` is after ``until``."""

    folder: Path | None = None
    since: date | None = None
    until: date | None = None

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise DescriptionError("CORE_DAYS_REVERSED", since=self.since, until=self.until)

    def __bool__(self) -> bool:
        return any(value is not None for value in (self.folder, self.since, self.until))

    def days(self, days: np.ndarray) -> np.ndarray:
        """Which of these days [n] datetime64[D] pass, [n] bool. An unknown day (NaT) is in no range."""
        kept = np.ones(len(days), bool)
        if self.since is not None:
            kept &= days >= np.datetime64(self.since)
        if self.until is not None:
            kept &= days <= np.datetime64(self.until)
        return kept


class Photos(Protocol):
    """Searchable photos in rows 0 to n - 1."""

    backbone: Backbone

    def index_for(self, adapter: Adapter) -> Index:
        """The index of ``columns.photo_rows`` as the adapter sees the photos. Most adapters share one index. Raises
        AdapterError: when numbers are NaN or infinite, or photos cannot be embedded again here."""
        ...


@dataclass(frozen=True)
class LikePhoto:
    """A question for photos similar to one of ``photos``."""

    photos: Photos
    photo: int  # its row

    def row(self, backbone: Backbone, adapter: Adapter = ZERO_SHOT) -> Tensor:
        """As ``EncodedQuery.row``."""
        rows = self.photos.index_for(adapter).take(np.array([self.photo]))
        return asked(backbone, adapter, lambda lora: embeddings(backbone, rows, lora))[0]


Asked = EncodedQuery | LikePhoto  # a question before any adapter is applied


def search(
    photos: Photos, question: Asked, adapter: Adapter = ZERO_SHOT, top: int | None = 10, among: np.ndarray | None = None
) -> list[tuple[int, float]]:
    """The ``top`` best photos (None: all) as (row, score), best first.

    A score is the cosine similarity. If the adapter's weight is below 1, it is the mixture with the zero-shot score.
    ``among``: the allowed rows [k], ascending (None: all). Raises AdapterError: as ``Photos.index_for`` and
    ``EncodedQuery.row``.
    """
    return photos.index_for(adapter).search(question.row(photos.backbone, adapter), top, among=among)


def some_embeddings(photos: Photos, most: int) -> Tensor:
    """Zero-shot embeddings [k, d] of at most ``most`` photos, at evenly spread rows."""
    index = photos.index_for(ZERO_SHOT)
    return embeddings(photos.backbone, index.take(spread_rows(len(index), most)))


def background(photos: Photos) -> EverydayPhotos | None:
    """Statistics of the searched photos, for names on a backbone without everyday photos. None if adapters move photos, if the
    backbone has a shared LoRA, or if there are fewer than FEWEST photos."""
    if photos.backbone.shared is not None or photos.backbone.layout.moves_photos:
        return None
    some = some_embeddings(photos, BACKGROUND)
    return EverydayPhotos.of(some) if len(some) >= FEWEST else None


class Recent(Generic[T]):
    """The values that were computed last, by key. Thread-safe; two threads may compute the same value at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[Hashable, T] = {}  # replaced, never changed

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key; ``make`` computes it if it is not kept."""
        values = self._values
        if key not in values:
            values = self._values = dict([*values.items(), (key, make())][-self._most :])
        return values[key]

    @property
    def values(self) -> list[T]:
        return list(self._values.values())


class PhotoIndexes:
    """Implements ``Photos`` for a fixed set of photos in memory. Thread-safe.

    Args:
        prefixes: the prefix activations of each photo, [*prefix_shape].
        rows: the index row of each photo, [w], from ``columns.photo_rows``.
    """

    def __init__(self, backbone: Backbone, prefixes: Sequence[Tensor], rows: Sequence[Tensor]) -> None:
        self.backbone, self._prefixes, self._photo_rows = backbone, prefixes, rows
        self._adapted: Recent[Index] = Recent(KEPT_ADAPTERS)

    @lazy
    def index(self) -> Index:
        return Index.of(torch.stack(list(self._photo_rows)) if self._photo_rows else torch.empty(0, width(self.backbone)))

    @lazy
    def background(self) -> EverydayPhotos | None:
        return background(self)

    @property
    def nbytes(self) -> int:
        """Bytes of all indexes built so far."""
        return sum(index.nbytes for index in (*self._adapted.values, *([self.index] if "index" in vars(self) else [])))

    def index_for(self, adapter: Adapter) -> Index:
        if not adapter.moves_photos or self.backbone.shared is not None or not self._prefixes:
            return self.index
        return self._adapted.get(adapter.key, lambda: Index.of(self._rows(adapter)))

    def _rows(self, adapter: Adapter) -> Tensor:
        starts = range(0, len(self._prefixes), SUFFIX_BATCH)
        batches = (torch.stack(list(self._prefixes[start : start + SUFFIX_BATCH])) for start in starts)
        return torch.cat([photo_rows(self.backbone, batch, adapter) for batch in batches])
