"""Cosines between LoRAs against written-out weight changes, and their intervals against loops over redrawn experts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import random_lora

from core.backbones.lora import Lora, LoraLayout, LoraModule
from core.backbones.lora_algebra import merge
from core.experiments.cosines import cosines, pair_mean

LAYOUT = LoraLayout((LoraModule("blocks.0.q", 6, 5), LoraModule("blocks.0.v", 7, 4)), 2)


def dense(lora: Lora) -> torch.Tensor:
    return torch.cat([(f.b @ f.a).flatten() for f in lora.factors.values()]).double()


def test_cosines_are_those_of_written_out_weight_changes() -> None:
    loras = [random_lora(LAYOUT, seed) for seed in range(4)]
    loras.append(merge(loras[:3], [0.5, -1.0, 0.2]))  # of rank 6
    written = torch.stack([dense(lora) for lora in loras])
    expected = torch.nn.functional.cosine_similarity(written[:, None], written[None], dim=2)
    np.testing.assert_allclose(cosines(loras), expected.numpy(), atol=1e-6)


def test_a_lora_scaled_turned_round_or_without_effect() -> None:
    lora = random_lora(LAYOUT, 0)
    found = cosines([lora, lora.scaled(3.0), lora.scaled(-1.0), lora.scaled(0.0)])
    np.testing.assert_allclose(found[0], [1, 1, -1, 0], atol=1e-6)
    assert not found[3].any()


def test_loras_on_different_directions_are_orthogonal() -> None:
    vector = torch.zeros(LAYOUT.size)
    vector[0], vector[12] = 1.0, 1.0  # A[0, 0] and B[0, 0] of the first linear
    other = torch.zeros(LAYOUT.size)
    other[1], other[12] = 1.0, 1.0  # A[0, 1]: another input
    found = cosines([Lora.from_vector(LAYOUT, v) for v in (vector, other, vector + other)])
    np.testing.assert_allclose(found, [[1, 0, 0.5**0.5], [0, 1, 0.5**0.5], [0.5**0.5, 0.5**0.5, 1]], atol=1e-6)


def test_pair_mean_redraws_experts_with_all_of_their_pairs() -> None:
    rng = np.random.default_rng(0)
    n, draws = 7, 400
    values = rng.normal(size=(n, n))
    values = values + values.T
    pairs = ~np.eye(n, dtype=bool)
    pairs[6] = pairs[:, 6] = False  # an expert of another kind
    mean, low, high = pair_mean(values, pairs, seed=1, draws=draws)
    assert mean == pytest.approx(np.mean([values[i, j] for i in range(6) for j in range(6) if i != j]))
    means = []
    for counts in np.random.default_rng(1).multinomial(6, np.full(6, 1 / 6), draws):
        drawn = np.repeat(np.arange(6), counts)
        found = [values[i, j] for i in drawn for j in drawn if i != j]
        means += [np.mean(found)] if found else []
    assert (low, high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))


def test_pairs_of_two_kinds() -> None:
    values = np.array([[9.0, 9, 1, 2], [9, 9, 3, 4], [1, 3, 9, 9], [2, 4, 9, 9]])
    pairs = values < 9
    mean, low, high = pair_mean(values, pairs)
    assert mean == pytest.approx(2.5)
    assert 1 <= low <= mean <= high <= 4
