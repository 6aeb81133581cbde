"""Search with any adapter, over a zero-shot index that never changes.

An adapter of texts changes the query alone: the index answers it as it is. With an adapter of photos search has two stages: a
mapped query finds candidates in the zero-shot index, and the adapter ranks these exactly. A new sentence then costs
``query_map.SAMPLE`` photos once, and each question ``RERANKED`` photos, however many there are; below ``EXACT_UP_TO`` photos
all of them are looked at. One implementation for the page's galleries and for libraries on disk.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from core.backbones.base import Backbone
from core.backbones.lora import Lora
from core.common.errors import AdapterError
from core.retrieval.adapter import Adapter
from core.retrieval.index import CANDIDATES, Index
from core.retrieval.query_map import SAMPLE, QueryMap

EXACT_UP_TO = 1_000  # photos: there, all of them cost little more than the sample and the candidates
RERANKED, RERANKED_FAR, FAR = 300, 1_000, 0.7  # more for adapters whose ``QueryMap.closeness`` is below FAR
SHORTLIST_MARGIN = 3  # candidates of a compressed scan for each photo that is ranked again, which is exact enough
CHECKED = 5_000  # photos of the sample that ``overlap`` looks at
READ_BATCH = 256  # photos whose activations are read at once
SUFFIX_BATCH = 32  # small enough for the caches: 20 % faster than 128 on one core
KEPT_MAPS, KEPT_INDEXES = 16, 8
KEPT_UP_TO = 5_000  # photos of which all embeddings of an adapter are kept: 8 MB

Kept = TypeVar("Kept")


class PhotoStore(Protocol):
    """Photos that were encoded once, at places 0 to n - 1.

    Attributes:
        backbone: the image-text model. index: zero-shot embeddings by place.
    """

    backbone: Backbone
    index: Index

    def prefixes(self, places: np.ndarray) -> Tensor:
        """Prefix activations [k, *prefix_shape] float16 of some places [k], ascending."""
        ...


class Seconds:
    """Seconds by step, added up."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        """What passed since the last lap was for this step."""
        now = time.perf_counter()
        self.laps[step], self._last = self.laps.get(step, 0.0) + now - self._last, now


@dataclass(frozen=True)
class Found:
    """The best photos of one adapter.

    Attributes:
        places: [k] best first. scores: [k] their exact cosine similarities to the query.
        approximate: whether photos that belong here may have been missed.
    """

    places: np.ndarray
    scores: np.ndarray
    approximate: bool

    @staticmethod
    def of(found: Sequence[tuple[int, float]], approximate: bool) -> Found:
        """From (place, score) pairs, best first."""
        places, scores = zip(*found, strict=True) if found else ((), ())
        return Found(np.array(places, np.int64), np.array(scores, np.float32), approximate)


@dataclass(frozen=True)
class EncodedQuery:
    """What is looked for, as one adapter's embedding of it may differ from another's.

    Attributes:
        sentences: [n, s] sentence embeddings of texts. text_weights: [n] of them, negative for "but not".
        prefixes: [m, *prefix_shape] of photos that are part of the question. photo_weights: [m] of them.
    """

    sentences: Tensor
    text_weights: Tensor
    prefixes: Tensor | None = None
    photo_weights: Tensor = field(default_factory=lambda: torch.empty(0))

    def embedding(self, backbone: Backbone, lora: Lora | None) -> Tensor:
        """The query [d], of unit length.

        Raises:
            AdapterError: the adapter turns it into NaN or infinite numbers.
        """
        query = torch.zeros(backbone.dim)
        if len(self.sentences):
            query = query + self.text_weights @ finite(backbone.text_from_sentences(self.sentences, lora))
        if self.prefixes is not None:
            query = query + self.photo_weights @ finite(backbone.suffix(self.prefixes, lora))
        return torch.nn.functional.normalize(query, dim=-1)


class TwoStageSearch:
    """Searches a store of photos with any adapter; threads may share it.

    Args:
        store: must not change; a store that grew is another one.
        exact_up_to: photos up to which all of them are looked at.
    """

    def __init__(self, store: PhotoStore, exact_up_to: int = EXACT_UP_TO) -> None:
        self.store, self._exact_up_to = store, exact_up_to
        self._maps: OrderedDict[str, QueryMap] = OrderedDict()
        self._indexes: OrderedDict[str, Index] = OrderedDict()
        self._sample: tuple[Tensor, Tensor] | None = None  # prefixes, zero-shot embeddings
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory that it holds besides the store."""
        with self._lock:
            indexes = sum(index.nbytes for index in self._indexes.values())
            maps = sum(made.weight.nbytes for made in self._maps.values())
            return indexes + maps + (0 if self._sample is None else sum(part.nbytes for part in self._sample))

    def exact(self, adapter: Adapter) -> bool:
        """Whether all photos are looked at with this adapter, if nobody asks for anything else."""
        return len(self.store.index) <= self._exact_up_to or (not self._moves(adapter) and not self.store.index.approximate)

    def map_of(self, adapter: Adapter) -> QueryMap:
        """The map that stands for an adapter of photos on these.

        Raises:
            AdapterError: the adapter turns photos into NaN or infinite numbers.
        """
        made = self._kept(self._maps, adapter.key)
        if made is None:
            prefixes, zero_shot = self._sampled()
            made = QueryMap.fit(zero_shot, self._adapted(prefixes, adapter))
            self._keep(self._maps, adapter.key, made, KEPT_MAPS)
        return made

    def whole(self, adapter: Adapter) -> Index:
        """The index of all photos as this adapter sees them; kept where there are not many.

        Raises:
            AdapterError: as ``map_of``.
        """
        if not self._moves(adapter):
            return self.store.index
        index = self._kept(self._indexes, adapter.key)
        if index is None:
            places = np.arange(len(self.store.index))
            parts = [self._adapted(self.store.prefixes(part), adapter) for part in _batches(places)]
            index = Index(torch.cat(parts) if parts else torch.empty(0, self.store.backbone.dim))
            if len(index) <= KEPT_UP_TO:
                self._keep(self._indexes, adapter.key, index, KEPT_INDEXES)
        return index

    def embeddings(self, adapter: Adapter, places: np.ndarray) -> Tensor:
        """[k, d] of some photos as this adapter sees them; of few photos in all, those of all of them are kept.

        Raises:
            AdapterError: as ``map_of``.
        """
        if not self._moves(adapter) or len(self.store.index) <= self._exact_up_to:
            return self.whole(adapter).take(places)
        return torch.cat([self._adapted(self.store.prefixes(part), adapter) for part in _batches(places)])

    def search(
        self,
        question: EncodedQuery,
        adapters: Sequence[Adapter],
        top: int | None = 10,
        exact: bool = False,
        among: np.ndarray | None = None,
        reranked: int | None = None,
        seconds: Seconds | None = None,
    ) -> list[Found]:
        """The best photos for each adapter, in order; candidates that several of them have are read once.

        Args:
            top: how many; None: all, or as many as are looked at.
            exact: every photo is looked at; each goes through every adapter of photos.
            among: the places [k] that may be answers, ascending; None: all of them.
            reranked: candidates that an adapter of photos looks at, at least ``top``; None: as many as the adapter needs.
            seconds: gets the laps "map", "search" and "rerank".
        """
        seconds = seconds or Seconds()
        index = self.store.index
        count = len(index) if among is None else len(among)
        all_of_them = exact or count <= self._exact_up_to
        queries = [question.embedding(self.store.backbone, adapter.lora) for adapter in adapters]
        seconds.lap("search")
        answers: list[Found | None] = [None] * len(adapters)
        candidates: dict[int, np.ndarray] = {}
        for i, (adapter, query) in enumerate(zip(adapters, queries, strict=True)):
            if not self._moves(adapter):
                found = index.search(query, count if top is None and not index.approximate else top or RERANKED, exact, among)
                answers[i] = Found.of(found, index.approximate and not exact)
            elif all_of_them and len(index) <= KEPT_UP_TO:
                adapted = self.whole(adapter)
                seconds.lap("rerank")
                answers[i] = Found.of(adapted.search(query, top, True, among), False)
            elif all_of_them:
                candidates[i] = np.arange(len(index)) if among is None else among
            else:
                made = self.map_of(adapter)
                wanted = max(top or 0, reranked or _candidates(made))
                seconds.lap("map")
                found = index.search(made.query(query), wanted, False, among, SHORTLIST_MARGIN)
                candidates[i] = np.sort(np.array([place for place, _ in found], np.int64))
            seconds.lap("search")
        scores = self._scores(queries, adapters, candidates)
        for i, places in candidates.items():
            order = np.lexsort((places, -scores[i]))[:top]
            answers[i] = Found(places[order], scores[i][order], approximate=not all_of_them)
        seconds.lap("rerank")
        return [answer for answer in answers if answer is not None]

    def ranks(self, query: Tensor, places: np.ndarray, among: np.ndarray | None = None) -> list[int | None]:
        """The zero-shot ranks of some photos, from 1, for a query [d]; None where a fast search does not know it."""
        index = self.store.index
        top = CANDIDATES if index.approximate else None
        rank = {place: rank for rank, (place, _) in enumerate(index.search(query, top, among=among, margin=1), 1)}
        return [rank.get(place) for place in places.tolist()]

    def overlap(
        self, question: EncodedQuery, adapter: Adapter, top: int = 10, reranked: int | None = None, photos: int = CHECKED
    ) -> tuple[float, int]:
        """The part of the exact ``top`` best that two stages find, 0 to 1, on a sample of the photos, and its size.

        Args:
            photos: in the sample. Each costs a pass through an adapter of photos.
        """
        n = len(self.store.index)
        places = np.sort(np.random.default_rng(1).choice(n, min(n, photos), replace=False))
        zero_shot = self.store.index.take(places)
        adapted = torch.cat([self._adapted(self.store.prefixes(part), adapter) for part in _batches(places)])
        query = question.embedding(self.store.backbone, adapter.lora)
        scores = adapted @ query
        exact = scores.topk(min(top, len(places))).indices
        made = self.map_of(adapter)
        candidates = (zero_shot @ made.query(query)).topk(min(reranked or _candidates(made), len(places))).indices
        found = candidates[scores[candidates].topk(min(len(exact), len(candidates))).indices]
        return len(np.intersect1d(exact.numpy(), found.numpy())) / max(1, len(exact)), len(places)

    def _scores(
        self, queries: Sequence[Tensor], adapters: Sequence[Adapter], candidates: Mapping[int, np.ndarray]
    ) -> dict[int, np.ndarray]:
        """Exact scores of the candidates of each adapter, read batch by batch for all adapters together."""
        scores = {i: np.empty(len(places), np.float32) for i, places in candidates.items()}
        union = np.unique(np.concatenate([*candidates.values()])) if candidates else np.empty(0, np.int64)
        for batch in _batches(union):
            prefixes = self.store.prefixes(batch)
            for i, places in candidates.items():
                mine = np.isin(batch, places, assume_unique=True)
                values = self._adapted(prefixes[torch.from_numpy(mine)], adapters[i]) @ queries[i]
                scores[i][np.searchsorted(places, batch[mine])] = values.numpy()
        return scores

    def _moves(self, adapter: Adapter) -> bool:
        """Whether photos have other embeddings with this adapter than zero-shot."""
        return adapter.lora is not None and adapter.lora.moves_photos

    def _adapted(self, prefixes: Tensor, adapter: Adapter) -> Tensor:
        """[k, d] of prefix activations [k, *prefix_shape]."""
        parts = [finite(self.store.backbone.suffix(part, adapter.lora)) for part in prefixes.split(SUFFIX_BATCH) if len(part)]
        return torch.cat(parts) if parts else torch.empty(0, self.store.backbone.dim)

    def _sampled(self) -> tuple[Tensor, Tensor]:
        """Prefix activations and zero-shot embeddings of SAMPLE photos, the same ones each time."""
        if self._sample is None:
            n = len(self.store.index)
            places = np.sort(np.random.default_rng(0).choice(n, min(n, SAMPLE), replace=False))
            self._sample = self.store.prefixes(places), self.store.index.take(places)
        return self._sample

    def _kept(self, cache: OrderedDict[str, Kept], key: str) -> Kept | None:
        with self._lock:
            if key in cache:
                cache.move_to_end(key)
            return cache.get(key)

    def _keep(self, cache: OrderedDict[str, Kept], key: str, value: Kept, most: int) -> None:
        with self._lock:
            cache[key] = value
            while len(cache) > most:
                cache.popitem(last=False)


def _candidates(made: QueryMap) -> int:
    return RERANKED if made.closeness >= FAR else RERANKED_FAR


def _batches(places: np.ndarray) -> list[np.ndarray]:
    return [places[start : start + READ_BATCH] for start in range(0, len(places), READ_BATCH)]


def finite(embeddings: Tensor) -> Tensor:
    """The embeddings as they are.

    Raises:
        AdapterError: they hold NaN or infinite numbers.
    """
    if not bool(torch.isfinite(embeddings).all()):
        raise AdapterError("This adapter gives numbers that are not finite: use a lower strength or another one.")
    return embeddings
