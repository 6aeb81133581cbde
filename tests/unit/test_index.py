"""Search compared with brute force in NumPy, also with equal rows."""

import numpy as np
import torch

from core.retrieval.index import Index


def unit(n: int, dim: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_best_rows_are_those_of_brute_force() -> None:
    rows, among = unit(3_000, 64, 0), np.arange(0, 3_000, 7)
    index = Index(rows)
    for query in unit(10, 64, 1):
        scores = rows @ query
        for allowed in (None, among):
            places = np.arange(3_000) if allowed is None else allowed
            best = places[np.argsort(-scores[places], kind="stable")]
            found = index.search(torch.from_numpy(query), 10, allowed)
            assert [row for row, _ in found] == best[:10].tolist()
            np.testing.assert_allclose([score for _, score in found], scores[best[:10]], atol=1e-5)
            everything = [row for row, _ in index.search(torch.from_numpy(query), among=allowed)]
            assert sorted(everything) == places.tolist()
            np.testing.assert_allclose(scores[everything], scores[best], atol=1e-6)  # rounding can swap neighbours


def test_equal_rows_come_in_order() -> None:
    rows = torch.cat([torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]).expand(300, 2), torch.tensor([[-1.0, 0.0]])])
    index = Index(rows.numpy())
    for top in (300, 301, 302, 9_999):
        assert [row for row, _ in index.search(torch.tensor([2.0, 0.0]), top)] == [*range(1, 301), 0, 301][:top]


def test_no_rows() -> None:
    assert Index(np.empty((0, 8), np.float32)).search(torch.ones(8), 3) == []


def test_a_search_leaves_torchs_threads_alone() -> None:
    """FAISS and torch share an OpenMP runtime. A setting for a search would slow down the models of the same thread."""
    index, before = Index(unit(12_000, 8, 4)), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for top in (None, 3):
            index.search(torch.ones(8), top)
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
