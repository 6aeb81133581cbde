"""The mixer: a conditional generator that writes how much of what is put into a LoRA, rather than the LoRA's numbers.

From a few dozen experts no decoder learns more of weight space than to repeat and to interpolate them (arXiv 2506.07998). So
this one writes the interpolation itself. As in the paper it is conditional and sampled: c = (mu*, sigma*^2), z ~ p(z | c),
and a decoder of z. What it decodes are, for every adapted linear m, two scales and for all one sharpness g:

    dW_m = s_m dW_shared,m + o_m sum_i beta_i B_i,m A_i,m,     beta = softmax(g log alpha)

with the routed experts' own parts B_i A_i and softmax weights alpha. Own parts of experts that are far are worth less, so the
logarithms of all these numbers are a line in how close the routed experts are, plus what is decoded. It is trained by the
retrieval loss alone, with the experts of a task left out (``core.training.mixer``); the KL divergence of p(z | c) from a
standard normal keeps z from saying more than helps (arXiv 1612.00410).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.backbones.lora import Factors, Lora
from core.backbones.lora_algebra import reduce_rank
from core.sglora.generated import Generated, draw_latent, write_generator
from core.sglora.prior import SemanticPrior
from core.sglora.repository import ExpertRepository
from core.sglora.router import Routing
from core.sglora.subspace import Basis
from core.sglora.vae import Gaussian

KIND = "mixer"
MAX_RANK = 64  # of what is written; more experts than that are cut to the closest LoRA of this rank (Eckart-Young)
MIDDLE, SPREAD = 0.6, 0.15  # about the mean and the standard deviation of closeness
REACH = 0.5  # how far one unit of the decoder's output moves a logarithm


@dataclass(frozen=True)
class MixerConfig:
    """Sizes: ``coordinates`` D of the basis, ``modules`` adapted linears, ``latent`` of z, ``hidden`` width of the MLPs."""

    coordinates: int
    modules: int
    latent: int = 8
    hidden: int = 64


@dataclass(frozen=True)
class Mixture:
    """What a LoRA is put together from.

    Attributes:
        shared: [m] scale of the shared part in each linear. own: [m] of the own parts.
        weights: [k] beta_i of the routed experts, summing to 1.
    """

    shared: Tensor
    own: Tensor
    weights: Tensor


class MixingNetwork(nn.Module):
    """p(z | c), a 2-layer ReLU MLP as in the paper, and the decoder of z, another one, which is zero-initialised; ``start`` and
    ``slope`` are the line in closeness that it is added to. Untrained, it writes 1 for everything: the merge."""

    def __init__(self, config: MixerConfig) -> None:
        super().__init__()
        self.config = config
        m, z, h = config.modules, config.latent, config.hidden
        self.start, self.slope = (nn.Parameter(torch.zeros(2 * m + 1)) for _ in range(2))
        self.prior = nn.Sequential(nn.Linear(2 * config.coordinates, h), nn.ReLU(), nn.Linear(h, 2 * z))
        last = nn.Linear(h, 2 * m + 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.decoder = nn.Sequential(nn.Linear(z, h), nn.ReLU(), last)

    def condition_prior(self, condition: Tensor) -> Gaussian:
        """p(z | c) for c [n, 2 D]."""
        mean, log_variance = self.prior(condition).chunk(2, -1)
        return Gaussian(mean, log_variance.clamp(-8, 2))

    def decode(self, z: Tensor, alpha: Tensor, closeness: float) -> Mixture:
        """The mixture of routed experts with softmax weights alpha [k] for z [latent].

        Args:
            closeness: ``Routing.closeness``.
        """
        m = self.config.modules
        logs = self.start + self.slope * ((closeness - MIDDLE) / SPREAD) + REACH * self.decoder(z)
        beta = torch.softmax(logs[-1].exp() * alpha.clamp(min=1e-12).log(), 0)
        return Mixture(logs[:m].exp(), logs[m : 2 * m].exp(), beta)


def mixed(shared: Lora | None, own: Sequence[Lora], mixture: Mixture, own_share: float = 1.0) -> Lora:
    """The LoRA of a mixture, exact, of rank sum_i r_i; differentiable in the mixture.

    Args:
        shared: what all experts share. own: [k] own parts. own_share: scales all of them, 0 to 1.
    """
    parts = [shared, *own] if shared else list(own)
    factors = {}
    for i, m in enumerate(own[0].modules):
        scales = [mixture.own[i] * own_share * w for w in mixture.weights]
        if shared:
            scales.insert(0, mixture.shared[i])
        each = [part.factors[m.name] for part in parts]
        factors[m.name] = Factors(
            torch.cat([f.a for f in each], 0), torch.cat([f.b * s for f, s in zip(each, scales, strict=True)], 1)
        )
    return Lora(own[0].modules, factors)


@dataclass(frozen=True)
class LoraMixer:
    """Implements ``core.sglora.generated.Generator``.

    Attributes:
        basis: of the own parts, for the condition. network: trained, in evaluation mode.
        fingerprint: of the backbone. notes: how it was trained.
    """

    basis: Basis
    network: MixingNetwork
    fingerprint: str
    notes: Mapping[str, Any]

    @torch.no_grad()
    def latent(self, prior: SemanticPrior) -> Gaussian:
        """p(z | c), one row."""
        return self.network.condition_prior(self.basis.condition(prior)[None])

    @torch.no_grad()
    def write(
        self, repository: ExpertRepository, routing: Routing, prior: SemanticPrior, seed: int | None, own: float = 1.0
    ) -> Generated:
        """Draw z ~ p(z | c) (seed None: its mean) and mix."""
        z = draw_latent(self.latent(prior), seed)[0]
        mixture = self.network.decode(z, routing.weights, routing.closeness)
        lora = mixed(repository.shared, [repository.own(i) for i in routing.chosen.tolist()], mixture, own)
        return Generated(lora if lora.rank <= MAX_RANK else reduce_rank(lora, MAX_RANK)[0], z, mixture)

    def with_own(self, means: Tensor) -> LoraMixer:
        """Own experts are mixed like any other: nothing need be learned."""
        return self

    def save(self, path: Path) -> None:
        """Write everything as float16 safetensors."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        write_generator(path, KIND, self.fingerprint, self.notes, asdict(self.network.config), self.basis, tensors)


def build_mixer(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> LoraMixer:
    """From the content of a file."""
    config = MixerConfig(**json.loads(metadata["config"]))
    with torch.device("meta"):  # takes no memory, whatever sizes the file claims; the tensors then take its place
        network = MixingNetwork(config)
    weights = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    network.load_state_dict(weights, assign=True)
    basis = Basis.of(tensors, config.coordinates)
    network = network.eval().requires_grad_(False)
    return LoraMixer(basis, network, metadata["backbone_fingerprint"], json.loads(metadata["notes"]))
