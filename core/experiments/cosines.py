"""Cosines between the weight changes of LoRAs, exact and without writing a weight change out: are experts orthogonal?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.backbones.lora import Lora

Estimate = tuple[float, float, float]


def products(loras: Sequence[Lora]) -> Tensor:
    """[n, n] float64 inner products between weight changes, all adapted linears as one long vector.

    Ranks may differ. It takes the factors alone: <B A, B' A'> = sum((B^T B') * (A A'^T)).
    """
    owner = torch.cat([torch.full((lora.rank,), i) for i, lora in enumerate(loras)])
    of = torch.nn.functional.one_hot(owner, len(loras)).double()  # [all ranks, n]
    found = torch.zeros(len(loras), len(loras), dtype=torch.double)
    for m in loras[0].modules:
        a = torch.cat([lora.factors[m.name].a for lora in loras]).double()
        b = torch.cat([lora.factors[m.name].b for lora in loras], 1).double()
        found += of.T @ ((a @ a.T) * (b.T @ b)) @ of
    return found


def cosines(loras: Sequence[Lora]) -> np.ndarray:
    """[n, n] cosines between weight changes; 0 where there is no change."""
    found = products(loras)
    norms = found.diagonal().clamp_min(0).sqrt()
    scale = torch.where(norms > 0, 1 / norms, 0)
    return (found * scale[:, None] * scale).numpy()


def pair_mean(values: np.ndarray, pairs: np.ndarray, seed: int = 0, draws: int = 2_000) -> Estimate:
    """Mean of ``values`` over pairs of experts with its 95 % bootstrap interval: (mean, low, high).

    Experts are drawn again, each with all of its pairs: the pairs of one expert are no independent evidence.

    Args:
        values: [n, n]. pairs: [n, n] bool, symmetric, False on the diagonal, True somewhere.
    """
    rows = np.flatnonzero(pairs.any(1))
    some = pairs[np.ix_(rows, rows)].astype(float)
    weighted = some * values[np.ix_(rows, rows)]
    drawn = np.random.default_rng(seed).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), draws).astype(float)
    sums, sizes = (((drawn @ matrix) * drawn).sum(1) for matrix in (weighted, some))
    means = sums[sizes > 0] / sizes[sizes > 0]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(weighted.sum() / some.sum()), float(low), float(high)
