"""The one path of search: embed the question with the adapter, ask the index of the photos as the adapter sees them.

An adapter of texts changes the question alone, and so does one that changes photos as all adapters of its backbone do: one
index of the photos answers all of them (``columns``). With another adapter of photos every photo is embedded again from its
prefix activations: a gallery does that (``PhotoIndexes``), a library on disk rejects such adapters.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from core.backbones.base import Backbone
from core.common.lazy import lazy
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import asked, embeddings, photo_rows, width
from core.retrieval.index import CANDIDATES, Index
from core.retrieval.popularity import popularity, spread_places
from core.retrieval.questions import EncodedQuery

SUFFIX_BATCH = 32  # small enough for the caches: 20 % faster than 128 on one core
KEPT_ADAPTERS = 4  # the page compares three

T = TypeVar("T", bound=Any)


class Photos(Protocol):
    """Photos that can be searched, at places 0 to n - 1."""

    backbone: Backbone

    def index_for(self, adapter: Adapter) -> Index:
        """The photos as an adapter sees them, ``columns.photo_rows`` by place: one index for all adapters but those that move
        photos as no other does. Raises AdapterError: NaN or infinite numbers come of it, or photos cannot be embedded again
        here."""
        ...


@dataclass(frozen=True)
class LikePhoto:
    """A question: what is like a photo that is indexed, at a place of ``photos``."""

    photos: Photos
    place: int

    def row(self, backbone: Backbone, adapter: Adapter = ZERO_SHOT) -> Tensor:
        """As ``EncodedQuery.row``."""
        rows = self.photos.index_for(adapter).take(np.array([self.place]))
        return asked(backbone, adapter, lambda lora: embeddings(backbone, rows, lora))[0]


Asked = EncodedQuery | LikePhoto  # what photos are asked, up to where adapters begin


def search(
    photos: Photos, question: Asked, adapter: Adapter = ZERO_SHOT, top: int | None = 10, among: np.ndarray | None = None
) -> list[tuple[int, float]]:
    """The ``top`` best photos (None: all) as (place, score), best first, among the places [k], ascending (None: all of them).
    A score is the cosine similarity, or where the adapter has a weight below 1 the mixture of both. Raises AdapterError: as
    ``Photos.index_for`` and ``EncodedQuery.row``."""
    return photos.index_for(adapter).search(question.row(photos.backbone, adapter), top, among=among)


def zero_shot_ranks(photos: Photos, question: Asked, among: np.ndarray | None = None) -> dict[int, int]:
    """Rank, from 1, by place; a compressed index knows the first ``CANDIDATES`` places only."""
    query, index = question.row(photos.backbone), photos.index_for(ZERO_SHOT)
    found = index.search(query, CANDIDATES if index.approximate else None, among=among, margin=1)
    return {place: rank for rank, (place, _) in enumerate(found, 1)}


class Recent(Generic[T]):
    """The last few values that were made, by key; threads may share it, and two of them may make one value at once."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._values: OrderedDict[Hashable, T] = OrderedDict()  # the last one asked for last

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, made where it is not kept."""
        with self._lock:
            known = self._values.get(key)
        value = make() if known is None else known
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return value

    @property
    def values(self) -> list[T]:
        with self._lock:
            return list(self._values.values())

    @property
    def nbytes(self) -> int:
        """Memory of all of them."""
        return sum(value.nbytes for value in self.values)


class PhotoIndexes:
    """Implements ``Photos`` for a set of photos in memory that does not change; threads may share it. ``prefixes``:
    [*prefix_shape] of each photo. ``rows``: [w] of each, as ``columns.photo_rows`` makes them."""

    def __init__(self, backbone: Backbone, prefixes: Sequence[Tensor], rows: Sequence[Tensor]) -> None:
        self.backbone, self._prefixes, self._of_photos = backbone, prefixes, rows
        self._adapted: Recent[Index] = Recent(KEPT_ADAPTERS)
        self._popular: Recent[Tensor] = Recent(KEPT_ADAPTERS)  # popularity of texts

    @lazy
    def index(self) -> Index:
        return Index.of(torch.stack(list(self._of_photos)) if self._of_photos else torch.empty(0, width(self.backbone)))

    @property
    def nbytes(self) -> int:
        """Memory of all indexes that were asked for."""
        made = self.index.nbytes if "index" in vars(self) else 0
        return made + self._adapted.nbytes + self._popular.nbytes

    def index_for(self, adapter: Adapter) -> Index:
        if not adapter.moves_photos or self.backbone.shared is not None or not self._prefixes:
            return self.index
        return self._adapted.get(adapter.key, lambda: Index.of(self._rows(adapter)))

    def _rows(self, adapter: Adapter) -> Tensor:
        starts = range(0, len(self._prefixes), SUFFIX_BATCH)
        batches = (torch.stack(list(self._prefixes[start : start + SUFFIX_BATCH])) for start in starts)
        return torch.cat([photo_rows(self.backbone, batch, adapter) for batch in batches])

    def popularity(self, adapter: Adapter, texts: tuple[str, ...], rows: Tensor) -> Tensor:
        """How popular texts are among the photos, [m]; their ``columns.text_rows`` are [m, w]."""
        index = self.index_for(adapter)
        return self._popular.get((adapter.key, texts), lambda: popularity(index.take(spread_places(len(index))), rows))
