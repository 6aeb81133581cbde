"""SemanticPrior: the routed experts' parameters as one Gaussian, by the law of total variance.

Paper: https://arxiv.org/abs/2509.10535, semantic prior.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SemanticPrior:
    """The condition c of the VAE: mu* = sum_i alpha_i mu_i, sigma*^2 = sum_i alpha_i (sigma_i^2 + mu_i^2) - mu*^2, in the D
    coordinates of ``core.sglora.subspace``, [..., D] each."""

    mean: Tensor
    variance: Tensor


def semantic_prior(means: Tensor, variances: Tensor, weights: Tensor) -> SemanticPrior:
    """The prior of routed experts: means mu_i [k, D], variances sigma_i^2 [k, D], and weights alpha_i [k] that sum to 1."""
    mean = weights @ means
    # The same law, centred: rounding cannot make sum_i alpha_i (sigma_i^2 + (mu_i - mu*)^2) negative.
    variance = weights @ (variances + (means - mean).square())
    return SemanticPrior(mean, variance)
