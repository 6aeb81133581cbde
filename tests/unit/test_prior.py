"""The semantic prior, compared with the moments of the mixture that it approximates."""

import numpy as np
import torch
from tiny_models import noise

from core.sglora.prior import semantic_prior

MEANS, VARIANCES = noise(3, 5, seed=1), noise(3, 5, seed=2).square() + 0.1
WEIGHTS = torch.tensor([0.5, 0.3, 0.2])


def test_against_the_formula_of_the_paper():
    mu, var, alpha = (x.numpy().astype(np.float64) for x in (MEANS, VARIANCES, WEIGHTS))
    mean = (alpha[:, None] * mu).sum(0)
    prior = semantic_prior(MEANS, VARIANCES, WEIGHTS)
    np.testing.assert_allclose(prior.mean.numpy(), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(prior.variance.numpy(), (alpha[:, None] * (var + mu**2)).sum(0) - mean**2, rtol=1e-5, atol=1e-6)


def test_large_means_do_not_make_the_variance_negative():
    means = 1e4 + noise(3, 50, seed=3) * 1e-3
    prior = semantic_prior(means, torch.full((3, 50), 1e-8), WEIGHTS)
    assert (prior.variance >= 0).all()
    exact = semantic_prior(means.double(), torch.full((3, 50), 1e-8).double(), WEIGHTS.double() / WEIGHTS.double().sum())
    literal = WEIGHTS @ (1e-8 + means.square()) - prior.mean.square()
    assert (prior.variance - exact.variance).abs().max() < (literal - exact.variance).abs().max() / 100
