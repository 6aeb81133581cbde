"""ConditionalVAE: q(z | theta, c), a learned prior p(z | c) and a decoder theta | z, c.

Paper: https://arxiv.org/abs/2509.10535, conditional VAE.

theta, mu* and sigma*^2 are coordinates of ``core.sglora.subspace``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from core.sglora.prior import SemanticPrior

VARIANCE_FLOOR = 1e-4  # added to a variance, so that the log-variance of a single expert stays finite


@dataclass(frozen=True)
class VaeConfig:
    coordinates: int  # D of theta
    latent: int = 16  # of z
    hidden: int = 128  # width of the MLPs


class Elbo(NamedTuple):
    """The parts of the negative ELBO, both in nats: ``error``, -log p(theta | z, c) for a Gaussian of unit variance in whitened
    coordinates, without its constant; and ``kl``, KL(q(z | theta, c) || p(z | c)). Means over the batch."""

    error: Tensor
    kl: Tensor


class ConditionalVAE(nn.Module):
    """Encoder, prior and decoder are MLPs with 2, 2 and 3 layers, as in the paper. The decoder's output is added to mu*. Its
    last layer starts at zero, so an untrained generator gives the merge."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        d, c, z, h = config.coordinates, 2 * config.coordinates, config.latent, config.hidden
        self.encoder = _mlp(d + c, h, 2 * z)
        self.prior = _mlp(c, h, 2 * z)
        self.decoder = _mlp(z + c, h, h, d)
        for parameter in self.decoder[-1].parameters():
            nn.init.zeros_(parameter)

    def encode(self, theta: Tensor, condition: Tensor) -> Normal:
        """q(z | theta, c), [n, latent], for theta [n, D] and c [n, 2 D]."""
        return _normal(self.encoder(torch.cat([theta, condition], -1)))

    def condition_prior(self, condition: Tensor) -> Normal:
        """p(z | c), [n, latent], for c [n, 2 D]."""
        return _normal(self.prior(condition))

    def decode(self, z: Tensor, condition: Tensor) -> Tensor:
        """theta [n, D] from z [n, latent] and c [n, 2 D]."""
        return condition[..., : self.config.coordinates] + self.decoder(torch.cat([z, condition], -1))

    def elbo(self, theta: Tensor, condition: Tensor, noise: Tensor) -> Elbo:
        """The parts of the negative ELBO for theta [n, D], c [n, 2 D] and standard normal noise [n, latent]."""
        posterior, prior = self.encode(theta, condition), self.condition_prior(condition)
        rebuilt = self.decode(posterior.mean + posterior.stddev * noise, condition)
        return Elbo(0.5 * (rebuilt - theta).square().sum(-1).mean(), kl_divergence(posterior, prior).sum(-1).mean())


def condition(prior: SemanticPrior) -> Tensor:
    """c = (mu*, log sigma*^2), [..., 2 D]."""
    return torch.cat([prior.mean, (prior.variance + VARIANCE_FLOOR).log()], -1)


def _mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _normal(output: Tensor) -> Normal:
    mean, log_variance = output.chunk(2, -1)
    return Normal(mean, (0.5 * log_variance.clamp(-8, 4)).exp(), validate_args=False)
