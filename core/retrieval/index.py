"""Nearest-neighbour search with FAISS, and rankings. The search is exact: 300,000 photos take a tenth of a second."""

from dataclasses import dataclass

import faiss
import numpy as np
import torch
from torch import Tensor

from core.common.runtime import one_core


@dataclass(frozen=True)
class Hit:
    key: str  # a photo's id, or the hash of a caption, in hex digits
    label: str  # the photo's name, or the caption
    score: float  # cosine similarity to the query, or a mixture of two; of a caption, minus its popularity
    rank: int  # from 1


@dataclass(frozen=True)
class Ranking:
    """The best hits, best first, and the number of ranked candidates."""

    hits: tuple[Hit, ...]
    total: int


class Index:
    """Inner products over unit-length rows with FAISS. Immutable, so threads may share it. ``rows``: [n, d] float32, unit
    length; not copied, so they may be memory-mapped."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray) -> Tensor:
        """A copy of these rows, [k, d]."""
        return torch.from_numpy(np.ascontiguousarray(self.rows[rows]))

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes

    # With more threads than queries, FAISS 1.15 splits the rows among the threads (its pull request 5000).
    # A query then takes two to four times as long on two cores. FAISS and torch share these threads (torch's OpenMP runtime).
    @one_core(faiss.omp_get_max_threads, faiss.omp_set_num_threads)
    def search(self, query: Tensor, top: int | None = None, among: np.ndarray | None = None) -> list[tuple[int, float]]:
        """The ``top`` best rows (None: all) as (row, inner product), best first, for a query [d]. Rows with equal scores are in
        row order. ``among``: the allowed rows [k], ascending. None: all."""
        vector = query.detach().float().cpu().contiguous().numpy()[None]
        candidates = self.rows if among is None else np.ascontiguousarray(self.rows[among])
        n = len(candidates)
        k = n if top is None else min(top, n)
        if not k:
            return []
        scores, rows = (values[0] for values in faiss.knn(vector, candidates, k, metric=faiss.METRIC_INNER_PRODUCT))
        rows = rows if among is None else among[rows]
        order = np.lexsort((rows, -scores))
        return list(zip(rows[order].tolist(), scores[order].tolist(), strict=True))
