"""Nearest-neighbour search with FAISS, and rankings. The search is exact up to a measured size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.common.runtime import one_core
from core.retrieval.popularity import spread_places

APPROXIMATE_FROM = 50_000  # below, an exact search takes a few milliseconds; compression would cost more than it saves
CANDIDATES = 1_000  # rows from the compressed scan, to rank by exact score; above this number, FAISS takes a slower path
MARGIN = 20  # candidates for each wanted hit
MOST_CANDIDATES = 20_000  # a search that needs more candidates is exact
TRAINING_ROWS = 50_000


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


def moves(before: Ranking, after: Ranking) -> dict[str, int]:
    """How many places each hit of ``after`` moved up (+) or down (-), by key. Hits that ``before`` lacks are left out."""
    ranks = {hit.key: hit.rank for hit in before.hits}
    return {hit.key: ranks[hit.key] - hit.rank for hit in after.hits if hit.key in ranks}


class Index:
    """Inner products over unit-length rows with FAISS. Immutable, so threads may share it.

    Below ``APPROXIMATE_FROM`` rows, every search is exact. From there on, a scan over compressed rows (product quantisation,
    4 bits for two dimensions: arXiv 1704.07355) finds ``CANDIDATES`` rows. Their exact scores decide the order.

    Args:
        rows: [n, d] float32, unit length; not copied, so they may be memory-mapped.
        scan: the scan of the first rows, from ``compressed``. Later rows are all candidates.
        release: called after a search with the scan, to free the memory of the rows it read.
    """

    def __init__(self, rows: np.ndarray, scan: faiss.Index | None = None, release: Callable[[], object] | None = None) -> None:
        self._rows, self._scan, self._release = rows, scan, release

    @staticmethod
    def of(rows: Tensor) -> Index:
        """An index of rows [n, d] in memory, scaled to unit length."""
        unit = F.normalize(rows.detach().float().cpu(), dim=-1).contiguous().numpy()
        many = len(unit) >= APPROXIMATE_FROM
        return Index(unit, compressed(unit[spread_places(len(unit), TRAINING_ROWS)], [unit]) if many else None)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, places: np.ndarray) -> Tensor:
        """A copy of the rows at these places, [k, d]."""
        return torch.from_numpy(np.ascontiguousarray(self._rows[places]))

    @property
    def nbytes(self) -> int:
        """Bytes of its rows and its scan."""
        return self._rows.nbytes + (0 if self._scan is None else self._scan.ntotal * self._scan.sa_code_size())

    @property
    def approximate(self) -> bool:
        """Whether a search may miss some of the best rows."""
        return self._scan is not None

    # With more threads than queries, FAISS 1.15 splits the rows among the threads (its pull request 5000).
    # A query then takes two to four times as long on two cores. FAISS and torch share these threads (torch's OpenMP runtime).
    @one_core(faiss.omp_get_max_threads, faiss.omp_set_num_threads)
    def search(
        self, query: Tensor, top: int | None = None, among: np.ndarray | None = None, margin: int = MARGIN
    ) -> list[tuple[int, float]]:
        """The ``top`` best rows (None: all) as (row, inner product), best first, for a query [d].

        If the search is exact, rows with equal scores are in row order, for every ``top``.

        Args:
            among: the allowed rows [k], ascending. None: all.
            margin: candidates from the scan for each wanted row.
        """
        vector = query.detach().float().cpu().contiguous().numpy()[None]
        n = len(self._rows) if among is None else len(among)
        wanted = n if top is None else min(top, n)
        if not wanted:
            return []
        few = among is not None and n < APPROXIMATE_FROM
        if self._scan is not None and not few and wanted * margin <= MOST_CANDIDATES:
            rows = self._candidates(vector, max(CANDIDATES, wanted * margin), among)
            scores = self._rows[rows] @ vector[0]
            if self._release is not None:
                self._release()
        elif among is None:
            scores, rows = self._exact(self._rows, vector, wanted)
        else:
            scores, places = self._exact(np.ascontiguousarray(self._rows[among]), vector, wanted)
            rows = among[places]
        order = np.lexsort((rows, -scores))[:wanted]
        return list(zip(rows[order].tolist(), scores[order].tolist(), strict=True))

    def _candidates(self, vector: np.ndarray, wanted: int, among: np.ndarray | None) -> np.ndarray:
        """The rows that the scan finds for a query [1, d], and all rows that the scan lacks."""
        assert self._scan is not None
        if among is not None:  # the scan cannot filter rows, so it must find more
            wanted = min(MOST_CANDIDATES, wanted * len(self._rows) // len(among))
        rows = self._scan.search(vector, min(wanted, self._scan.ntotal))[1][0]
        # FAISS returns -1 where it finds no neighbour.
        rows = np.concatenate([rows[rows >= 0], np.arange(self._scan.ntotal, len(self._rows))])
        return rows if among is None else rows[np.isin(rows, among)]

    @staticmethod
    def _exact(rows: np.ndarray, vector: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and rows of the ``wanted`` best for a query [1, d], and of all rows that tie with the last of these."""
        n, k = len(rows), wanted
        while True:
            k = min(n, k + 1)
            scores, places = (values[0] for values in faiss.knn(vector, rows, k, metric=faiss.METRIC_INNER_PRODUCT))
            if k == n or scores[wanted - 1] > scores[-1]:
                return scores, places
            k *= 2


def compressed(sample: np.ndarray, blocks: Iterable[np.ndarray]) -> faiss.IndexPQFastScan:
    """A scan of rows at 4 bits for two dimensions: a sixteenth of their size, scanned in registers. ``sample``: rows [k, d] for
    training. ``blocks``: all rows in order, [n, d] each."""
    dim = sample.shape[1]
    scan = faiss.IndexPQFastScan(dim, dim // 2 if dim % 2 == 0 else dim, 4, faiss.METRIC_INNER_PRODUCT)
    scan.train(sample)
    for rows in blocks:
        scan.add(rows)
    return scan
