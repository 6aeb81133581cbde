"""ConditionalVAE: q(z | theta, c), a learned prior p(z | c) and a decoder theta | z, c.

Paper: https://arxiv.org/abs/2509.10535, conditional VAE.

theta and c are coordinates of ``core.sglora.subspace``. The raw vectors, thousands of numbers from a few dozen experts, would
be mostly noise.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class VaeConfig:
    """Sizes and the slope of the leaky ReLUs."""

    coordinates: int  # D of theta
    latent: int = 16  # of z
    hidden: int = 128  # width of the MLPs
    # Slope of the leaky ReLUs below 0. With 0, some conditions switch whole decoder layers off, and all z give the same theta.
    slope: float = 0.0


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian: mean and log-variance, [n, latent] each."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Reparameterised sample for standard normal ``noise`` of the same shape."""
        return self.mean + noise * (0.5 * self.log_variance).exp()

    def kl(self, other: Gaussian) -> Tensor:
        """KL(self || other) for each row and latent, [n, latent], in nats (closed form)."""
        ratio = (self.log_variance - other.log_variance).exp()
        distance = (self.mean - other.mean).square() / other.log_variance.exp()
        return 0.5 * (ratio + distance - 1 + other.log_variance - self.log_variance)


class Elbo(NamedTuple):
    """The parts of the negative ELBO: ``error``, the mean squared error, and ``kl`` in nats, summed over latents."""

    error: Tensor
    kl: Tensor


class ConditionalVAE(nn.Module):
    """Encoder, prior and decoder are MLPs with 2, 2 and 3 layers, as in the paper. The decoder's output is added to the
    condition's mean. It starts at zero, so an untrained generator merges."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        d, c, z, h = config.coordinates, 2 * config.coordinates, config.latent, config.hidden
        self.encoder = _mlp(config.slope, d + c, h, 2 * z)
        self.prior = _mlp(config.slope, c, h, 2 * z)
        self.decoder = _mlp(config.slope, z + c, h, h, d)
        for parameter in self.decoder[-1].parameters():
            nn.init.zeros_(parameter)

    def encode(self, theta: Tensor, condition: Tensor) -> Gaussian:
        """q(z | theta, c) for theta [n, D] and c [n, 2 D]."""
        return _gaussian(self.encoder(torch.cat([theta, condition], -1)))

    def condition_prior(self, condition: Tensor) -> Gaussian:
        """p(z | c) for c [n, 2 D]."""
        return _gaussian(self.prior(condition))

    def decode_step(self, z: Tensor, condition: Tensor) -> Tensor:
        """theta minus the condition's mean, [n, D], from z [n, latent] and c [n, 2 D]."""
        return self.decoder(torch.cat([z, condition], -1))

    def elbo(self, theta: Tensor, condition: Tensor, noise: Tensor) -> Elbo:
        """The parts of the negative ELBO for theta [n, D], c [n, 2 D] and standard normal noise [n, latent]."""
        posterior, prior = self.encode(theta, condition), self.condition_prior(condition)
        mean = condition[..., : self.config.coordinates]
        rebuilt = mean + self.decode_step(posterior.sample(noise), condition)
        return Elbo((rebuilt - theta).square().mean(), posterior.kl(prior).mean(0).sum())


def _mlp(slope: float, *widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), nn.LeakyReLU(slope)]
    return nn.Sequential(*layers[:-1])


def _gaussian(output: Tensor) -> Gaussian:
    mean, log_variance = output.chunk(2, -1)
    return Gaussian(mean, log_variance.clamp(-8, 4))
