"""SemanticPrior: the routed experts' parameters as one Gaussian, by the law of total variance.

Paper: https://arxiv.org/abs/2509.10535, semantic prior.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SemanticPrior:
    """The condition c = (mu*, sigma*^2) of the conditional VAE.

    Attributes:
        mean: [P] mu* = sum_i alpha_i mu_i.
        variance: [P] sigma*^2 = sum_i alpha_i (sigma_i^2 + mu_i^2) - mu*^2.
    """

    mean: Tensor
    variance: Tensor


def semantic_prior(means: Tensor, variances: Tensor, weights: Tensor) -> SemanticPrior:
    """The prior of routed experts.

    Args:
        means: [k, P] mu_i. variances: [k, P] sigma_i^2. weights: [k] alpha_i, summing to 1.
    """
    mean = weights @ means
    # The same law, centred: sum_i alpha_i (sigma_i^2 + (mu_i - mu*)^2) never goes below zero through rounding.
    variance = weights @ (variances + (means - mean).square())
    return SemanticPrior(mean, variance)
