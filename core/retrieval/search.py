"""The one path of search: embed the question with the adapter, ask the index of the photos as the adapter sees them.

An adapter of texts changes the question alone, and so does one that changes photos as all adapters of its backbone do: one
index of the photos answers all of them (``columns``). With another adapter of photos every photo is embedded again from its
prefix activations: a gallery does that (``PhotoIndexes``), a library on disk rejects such adapters.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from core.backbones.base import Backbone
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import asked, embeddings, photo_rows, width
from core.retrieval.index import CANDIDATES, Index

SUFFIX_BATCH = 32  # small enough for the caches: 20 % faster than 128 on one core
KEPT_ADAPTERS = 4  # the page compares three


class Photos(Protocol):
    """Photos that can be searched, at places 0 to n - 1.

    Attributes:
        backbone: the image-text model. index: ``columns.photo_rows`` by place.
    """

    backbone: Backbone
    index: Index

    def index_for(self, adapter: Adapter) -> Index:
        """The photos as an adapter sees them: ``index`` unless it moves photos as no other adapter does.

        Raises:
            AdapterError: it turns photos into NaN or infinite numbers, or photos cannot be embedded again here.
        """
        ...


class Asked(Protocol):
    """What photos are asked, up to where adapters begin."""

    def row(self, backbone: Backbone, adapter: Adapter = ZERO_SHOT) -> Tensor:
        """What an index is asked, [w]: its inner product with a row of ``columns.photo_rows`` is the photo's score.

        Raises:
            AdapterError: the adapter turns it into NaN or infinite numbers, or moves photos in another way than the backbone's
                shared part does.
        """
        ...


@dataclass(frozen=True)
class LikePhoto:
    """Implements ``Asked``: what is like a photo that is indexed, at a place of ``photos``."""

    photos: Photos
    place: int

    def row(self, backbone: Backbone, adapter: Adapter = ZERO_SHOT) -> Tensor:
        rows = self.photos.index_for(adapter).take(np.array([self.place]))
        return asked(backbone, adapter, lambda lora: embeddings(backbone, rows, lora))[0]


def search(
    photos: Photos,
    question: Asked,
    adapter: Adapter = ZERO_SHOT,
    top: int | None = 10,
    among: np.ndarray | None = None,
) -> list[tuple[int, float]]:
    """The ``top`` best photos (None: all) as (place, score), best first.

    A score is the cosine similarity, or where the adapter has a weight below 1 the mixture of both cosine similarities.

    Args:
        among: the places [k] that may be answers, ascending; None: all of them.

    Raises:
        AdapterError: as ``Photos.index_for`` and ``Asked.row``.
    """
    return photos.index_for(adapter).search(question.row(photos.backbone, adapter), top, among=among)


def zero_shot_ranks(photos: Photos, question: Asked, among: np.ndarray | None = None) -> dict[int, int]:
    """Rank, from 1, by place; a compressed index knows the first ``CANDIDATES`` places only."""
    query, top = question.row(photos.backbone), CANDIDATES if photos.index.approximate else None
    return {place: rank for rank, (place, _) in enumerate(photos.index.search(query, top, among=among, margin=1), 1)}


class PhotoIndexes:
    """Implements ``Photos`` for a set of photos in memory that does not change; threads may share it.

    Args:
        prefixes: [*prefix_shape] of each photo. rows: [w] of each, as ``columns.photo_rows`` makes them.
    """

    def __init__(self, backbone: Backbone, prefixes: Sequence[Tensor], rows: Sequence[Tensor]) -> None:
        self.backbone, self._prefixes = backbone, prefixes
        self.index = Index(torch.stack(list(rows)) if rows else torch.empty(0, width(backbone)))
        self._adapted: OrderedDict[str, Index] = OrderedDict()  # by adapter, the last one asked for last
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory of all indexes."""
        with self._lock:
            return self.index.nbytes + sum(index.nbytes for index in self._adapted.values())

    def index_for(self, adapter: Adapter) -> Index:
        if not adapter.moves_photos or self.backbone.shared is not None or not self._prefixes:
            return self.index
        with self._lock:
            index = self._adapted.get(adapter.key)
        if index is None:
            starts = range(0, len(self._prefixes), SUFFIX_BATCH)
            batches = (torch.stack(list(self._prefixes[start : start + SUFFIX_BATCH])) for start in starts)
            index = Index(torch.cat([photo_rows(self.backbone, batch, adapter) for batch in batches]))
        with self._lock:
            self._adapted[adapter.key] = index
            self._adapted.move_to_end(adapter.key)
            while len(self._adapted) > KEPT_ADAPTERS:
                self._adapted.popitem(last=False)
        return index
