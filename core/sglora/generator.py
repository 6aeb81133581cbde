"""The generator: from a semantic prior to an expert LoRA.

Paper: https://arxiv.org/abs/2509.10535, section on generation. It draws z ~ p(z | c) and decodes it, in the coordinates of
``core.sglora.subspace``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal

from core.sglora.prior import SemanticPrior
from core.sglora.vae import ConditionalVAE, condition


class Sample(NamedTuple):
    """A draw: z [latent], and the expert LoRA's coordinates theta [D] that the decoder makes of it."""

    z: Tensor
    theta: Tensor


@dataclass(frozen=True)
class LoraGenerator:
    """A trained VAE. ``fingerprint`` is the backbone's, ``basis`` the digest of the experts' basis; ``notes`` describe the
    training."""

    vae: ConditionalVAE
    fingerprint: str
    basis: str
    notes: Mapping[str, Any]

    @torch.no_grad()
    def latent(self, prior: SemanticPrior) -> Normal:
        """p(z | c): [..., latent] for a prior [..., D]."""
        return self.vae.condition_prior(condition(prior))

    @torch.no_grad()
    def sample(self, prior: SemanticPrior, seed: int) -> Sample:
        """Draw z ~ p(z | c), and decode it."""
        latent = self.latent(prior)
        noise = torch.randn(latent.mean.shape, generator=torch.Generator().manual_seed(seed))
        z = latent.mean + latent.stddev * noise
        return Sample(z, self.vae.decode(z, condition(prior)))
