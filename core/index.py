"""Exact nearest-neighbour search with FAISS, and the rankings that it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import faiss
import numpy as np
import torch.nn.functional as F
from torch import Tensor

from core.errors import GalleryError


@dataclass(frozen=True)
class Hit:
    """One place of a ranking.

    Attributes:
        key: what was found, in hex digits: a photo's id, or the hash of a caption.
        label: how to show it: the photo's name, or the caption.
        score: cosine similarity to the query.
        rank: place, from 1.
    """

    key: str
    label: str
    score: float
    rank: int


@dataclass(frozen=True)
class Ranking:
    """The best hits, best first, and the number of candidates they were taken from."""

    hits: tuple[Hit, ...]
    total: int


def moves(before: Ranking, after: Ranking) -> dict[str, int]:
    """How many places each hit of ``after`` moved up (+) or down (-) since ``before``.

    Hits that ``before`` does not hold are left out: rank with ``top=None`` to have them all.
    """
    was = {hit.key: hit.rank for hit in before.hits}
    return {hit.key: was[hit.key] - hit.rank for hit in after.hits if hit.key in was}


class Index:
    """Inner products over unit-length rows, exact (``IndexFlatIP``); never changed once built, so threads may share it.

    FAISS's thread count is left alone on purpose: torch shares its OpenMP runtime, so ``faiss.omp_set_num_threads`` would
    slow down the calling thread's models as well, while one query against a flat index runs on one thread anyway.

    Args:
        rows: [n, d]; scaled to unit length here, as float32.

    Attributes:
        rows: [n, d] what is searched.
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows = F.normalize(rows.detach().float().cpu(), dim=-1)
        self._faiss = faiss.IndexFlatIP(rows.shape[1])
        self._faiss.add(np.ascontiguousarray(self.rows.numpy()))

    def search(self, query: Tensor) -> list[tuple[int, float]]:
        """Every row as (row, cosine similarity), best first, for a query [d].

        Complete even when only the first are wanted: equally good rows then come in the same order whatever ``top`` is.
        """
        vector = F.normalize(query.detach().float().cpu(), dim=-1).numpy()[None]
        scores, rows = self._faiss.search(np.ascontiguousarray(vector), max(1, self._faiss.ntotal))
        # FAISS fills places that it has no neighbour for with row -1.
        found = [(int(row), float(score)) for row, score in zip(rows[0], scores[0], strict=True) if row >= 0]
        return sorted(found, key=lambda hit: (-hit[1], hit[0]))

    def rank(self, query: Tensor, keys: Sequence[str], labels: Mapping[str, str], top: int | None) -> Ranking:
        """The ``top`` best rows (None: all) for a query [d], where ``keys`` [n] says what each row is.

        Raises:
            GalleryError: ``top`` is below 1.
        """
        if top is not None and top < 1:
            raise GalleryError(f"{top} results were asked for: at least one is needed.")
        found = self.search(query)
        hits = tuple(Hit(keys[row], labels[keys[row]], score, rank) for rank, (row, score) in enumerate(found[:top], 1))
        return Ranking(hits, len(keys))
