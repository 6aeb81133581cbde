"""The semantic prior in single precision. `test_sketch.py` compares it with the paper's formula."""

import torch
from tiny_models import noise

from core.sglora.prior import semantic_prior

WEIGHTS = torch.tensor([0.5, 0.3, 0.2])


def test_large_means_do_not_make_the_variance_negative():
    means = 1e4 + noise(3, 50, seed=3) * 1e-3
    prior = semantic_prior(means, torch.full((3, 50), 1e-8), WEIGHTS)
    assert (prior.variance >= 0).all()
    exact = semantic_prior(means.double(), torch.full((3, 50), 1e-8).double(), WEIGHTS.double() / WEIGHTS.double().sum())
    literal = WEIGHTS @ (1e-8 + means.square()) - prior.mean.square()
    assert (prior.variance - exact.variance).abs().max() < (literal - exact.variance).abs().max() / 100
