"""Nearest-neighbour search with FAISS, exact up to a measured size, and the rankings that it gives."""

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

APPROXIMATE_FROM = 50_000  # below, an exact search takes a few milliseconds, and compressing would take longer than it saves
CANDIDATES = 1_000  # of the compressed scan, whose exact scores decide; more of them take FAISS a slower way
MARGIN = 20  # so many candidates for each hit that is wanted
MOST_CANDIDATES = 20_000  # a search that would need more of them is exact
TRAINING_ROWS = 50_000


@dataclass(frozen=True)
class Hit:
    """One place of a ranking."""

    key: str  # a photo's id, or the hash of a caption, in hex digits
    label: str  # the photo's name, or the caption
    score: float  # cosine similarity to the query, or the mixture of two
    rank: int  # from 1


@dataclass(frozen=True)
class Ranking:
    """The best hits, best first, and the number of candidates they were taken from."""

    hits: tuple[Hit, ...]
    total: int


def moves(before: Ranking, after: Ranking) -> dict[str, int]:
    """How many places each hit of ``after`` moved up (+) or down (-) since ``before``, which may not hold all of them."""
    was = {hit.key: hit.rank for hit in before.hits}
    return {hit.key: was[hit.key] - hit.rank for hit in after.hits if hit.key in was}


class Index:
    """Inner products over unit-length rows with FAISS; never changed once built, so threads may share it.

    Up to ``APPROXIMATE_FROM`` rows every search is exact. Above, a scan over compressed rows (product quantisation, 4 bits for
    two dimensions: arXiv 1704.07355) finds ``CANDIDATES`` rows, which are ranked by their exact scores.

    Args:
        rows: [n, d] float32 of unit length, which stay where they are, such as in a memory-mapped file.
        scan: of the first rows, as ``compressed`` makes it; those that it does not know are all looked at.
        release: called after a search with the scan: gives back the memory of the few rows that it looked at.
    """

    def __init__(self, rows: np.ndarray, scan: faiss.Index | None = None, release: Callable[[], object] | None = None) -> None:
        self._rows, self._scan, self._release = rows, scan, release

    @staticmethod
    def of(rows: Tensor) -> Index:
        """An index of rows [n, d] in memory, which are scaled to unit length."""
        unit = F.normalize(rows.detach().float().cpu(), dim=-1).contiguous().numpy()
        many = len(unit) >= APPROXIMATE_FROM
        return Index(unit, compressed(unit[spread_places(len(unit), TRAINING_ROWS)], [unit]) if many else None)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, places: np.ndarray) -> Tensor:
        """A copy of some rows [k, d]."""
        return torch.from_numpy(np.ascontiguousarray(self._rows[places]))

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return self._rows.nbytes + (0 if self._scan is None else self._scan.ntotal * self._scan.sa_code_size())

    @property
    def approximate(self) -> bool:
        """Whether a search for few rows may miss some."""
        return self._scan is not None

    # With more threads than queries, FAISS 1.15 shares the rows out among the threads (its pull request 5000), and then a query
    # takes two to four times as long on two cores. The threads are torch's as well, whose OpenMP runtime it is.
    @one_core(faiss.omp_get_max_threads, faiss.omp_set_num_threads)
    def search(
        self, query: Tensor, top: int | None = None, among: np.ndarray | None = None, margin: int = MARGIN
    ) -> list[tuple[int, float]]:
        """The ``top`` best rows (None: all) as (row, inner product), best first, for a query [d].

        Where the search is exact, as for all rows, equally good ones come in order of row, whatever ``top`` is.

        Args:
            among: the rows [k] that may be answers, ascending; None: all of them.
            margin: candidates of the scan for each row that is wanted.
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
        """Rows that the scan finds for a query [1, d], and all that it does not know."""
        assert self._scan is not None
        if among is not None:  # the scan cannot leave rows out, so that it is asked for more
            wanted = min(MOST_CANDIDATES, wanted * len(self._rows) // len(among))
        rows = self._scan.search(vector, min(wanted, self._scan.ntotal))[1][0]
        # FAISS fills places that it has no neighbour for with -1.
        rows = np.concatenate([rows[rows >= 0], np.arange(self._scan.ntotal, len(self._rows))])
        return rows if among is None else rows[np.isin(rows, among)]

    @staticmethod
    def _exact(rows: np.ndarray, vector: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and rows of at least the ``wanted`` best for a query [1, d], with all that tie with the last one of them."""
        n, k = len(rows), wanted
        while True:
            k = min(n, k + 1)
            scores, places = (values[0] for values in faiss.knn(vector, rows, k, metric=faiss.METRIC_INNER_PRODUCT))
            if k == n or scores[wanted - 1] > scores[-1]:
                return scores, places
            k *= 2


def compressed(sample: np.ndarray, blocks: Iterable[np.ndarray]) -> faiss.IndexPQFastScan:
    """Rows at 4 bits for two dimensions: a sixteenth of their size, scanned in registers. ``sample``: rows [k, d] to learn
    from. ``blocks``: all rows in order, [n, d] each."""
    dim = sample.shape[1]
    scan = faiss.IndexPQFastScan(dim, dim // 2 if dim % 2 == 0 else dim, 4, faiss.METRIC_INNER_PRODUCT)
    scan.train(sample)
    for rows in blocks:
        scan.add(rows)
    return scan
