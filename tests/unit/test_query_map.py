"""The map against closed forms, and its file against bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import Ridge
from tiny_models import noise

from core.common.errors import AdapterError
from core.retrieval.query_map import QueryMap


def unit(n: int, dim: int, seed: int) -> torch.Tensor:
    return torch.nn.functional.normalize(noise(n, dim, seed=seed), dim=-1)


def test_the_map_is_scikit_learns_ridge_regression() -> None:
    zero_shot, adapted = unit(200, 12, 1), unit(200, 12, 2)
    made = QueryMap.fit(zero_shot, adapted)
    expected = Ridge(alpha=1.0, solver="cholesky").fit(zero_shot.double().numpy(), (adapted - zero_shot).double().numpy())
    np.testing.assert_allclose(made.weight.numpy(), expected.coef_.T, atol=1e-5)
    np.testing.assert_allclose(made.bias.numpy(), expected.intercept_, atol=1e-5)


def test_a_mapped_query_scores_zero_shot_photos_as_the_query_scores_adapted_ones() -> None:
    zero_shot, weight, bias = unit(500, 8, 3), 0.3 * noise(8, 8, seed=4), 0.1 * noise(8, seed=5)
    adapted = zero_shot + zero_shot @ weight + bias
    made, query = QueryMap.fit(zero_shot, adapted, ridge=1e-6), unit(1, 8, 6)[0]
    torch.testing.assert_close(zero_shot @ made.query(query) + made.offset(query), adapted @ query, atol=1e-4, rtol=0)
    assert torch.equal(QueryMap.identity(8).query(query), query)


def test_a_map_comes_back_from_its_file(tmp_path: Path) -> None:
    made, file = QueryMap.fit(unit(50, 6, 7), unit(50, 6, 8)), tmp_path / "deeper" / "map.safetensors"
    made.save(file, "abc", "{}")
    again = QueryMap.load(file, "abc", 6)
    assert torch.equal(again.weight, made.weight) and torch.equal(again.bias, made.bias)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.unlink(), "is not there"),
        (lambda file: file.write_bytes(file.read_bytes()[:40]), "damaged"),
        (lambda file: QueryMap.identity(6).save(file, "another", "{}"), "another backbone"),
        (lambda file: QueryMap.identity(5).save(file, "abc", "{}"), "shapes"),
        (lambda file: QueryMap(torch.full((6, 6), torch.nan), torch.zeros(6)).save(file, "abc", "{}"), "not finite|infinite"),
        (lambda file: save_file({"weight": torch.zeros(6, 6)}, file, {"backbone_fingerprint": "abc"}), "damaged or not a map"),
    ],
)
def test_a_map_that_cannot_be_used_is_refused_in_words(tmp_path: Path, change, message: str) -> None:
    file = tmp_path / "map.safetensors"
    QueryMap.identity(6).save(file, "abc", "{}")
    change(file)
    with pytest.raises(AdapterError, match=message) as refused:
        QueryMap.load(file, "abc", 6)
    assert file.name in str(refused.value)
