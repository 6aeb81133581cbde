"""Search compared with brute force in NumPy: exact, approximate, and with equal rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.retrieval.index import APPROXIMATE_FROM, Index, compressed


def unit(n: int, dim: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def approximated(rows: np.ndarray) -> Index:
    return Index(rows, compressed(rows, [rows]))


@pytest.mark.parametrize("approximate", [False, True])
def test_the_best_rows_are_those_of_brute_force(approximate: bool) -> None:
    rows, queries = unit(12_000, 64, 0), unit(40, 64, 1)
    index = approximated(rows) if approximate else Index.of(torch.from_numpy(rows))
    found_all = 0
    for query in queries:
        scores = rows @ query
        best = np.argsort(-scores, kind="stable")[:10]
        found = index.search(torch.from_numpy(query), 10)
        assert len(found) == 10 and found == sorted(found, key=lambda hit: (-hit[1], hit[0]))
        np.testing.assert_allclose([score for _, score in found], scores[[row for row, _ in found]], atol=1e-5)
        found_all += len({row for row, _ in found} & set(best.tolist()))
        exact = index.search(torch.from_numpy(query))[:10]
        assert [row for row, _ in exact] == best.tolist()
        everything = [row for row, _ in index.search(torch.from_numpy(query))]
        assert sorted(everything) == list(range(len(rows)))
        np.testing.assert_allclose(scores[everything], np.sort(scores)[::-1], atol=1e-6)  # rounding can swap neighbours
    assert found_all >= 0.99 * 400
    assert approximate or found_all == 400


def test_many_rows_are_compressed_and_few_are_not() -> None:
    few, many = Index.of(torch.ones(10, 2)), Index.of(torch.from_numpy(unit(APPROXIMATE_FROM, 2, 2)))
    assert few.nbytes == 10 * 2 * 4
    assert APPROXIMATE_FROM * 8 < many.nbytes <= APPROXIMATE_FROM * 8 * 3


def test_equal_rows_come_in_order_however_many_are_wanted() -> None:
    rows = torch.cat([torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]).expand(300, 2), torch.tensor([[-1.0, 0.0]])])
    index = Index.of(rows)
    for top in (1, 2, 150, 299, 300, 301, 302, 9_999):
        assert [row for row, _ in index.search(torch.tensor([2.0, 0.0]), top)] == [*range(1, 301), 0, 301][:top]


def test_no_rows_and_rows_of_odd_width() -> None:
    assert Index.of(torch.empty(0, 8)).search(torch.ones(8), 3) == []
    rows = unit(2_000, 7, 3)
    query = torch.from_numpy(rows[5])
    assert approximated(rows).search(query, 1)[0][0] == 5


def test_a_search_leaves_torchs_threads_alone() -> None:
    """FAISS and torch share an OpenMP runtime. A setting for a search would slow down the models of the same thread."""
    index, before = approximated(unit(12_000, 8, 4)), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for top in (None, 3):
            index.search(torch.ones(8), top)
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
