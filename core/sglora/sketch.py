"""Numbers that show how an adapter was made: the prior c, z ~ p(z | c), and what the decoder adds. Nothing is estimated.

Paper: https://arxiv.org/abs/2509.10535, semantic prior and generation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from core.backbones.lora import Lora
from core.sglora.engine import Adaptation, SGLora

COORDINATES = 8  # that are shown: experts differ most along the first ones
SEEDS = range(10)  # that are compared


@dataclass(frozen=True)
class Sketch:
    """The first coordinates of each step, and z ~ p(z | c) in its two widest dimensions."""

    coordinates: int  # D
    mean: list[float]  # mu*
    spread: list[float]  # sigma*
    experts: list[list[float]]  # mu_i of the experts in the adapter
    theta: list[float]  # the sample
    added: float  # what the decoder adds to the merge, in percent of the adapter
    latent: list[list[float]] = field(default_factory=list)  # mean and deviation of p(z | c), z, and the z of each of SEEDS
    apart: float = 0.0  # root mean square distance of SEEDS' adapters to their mean, in percent of the adapter

    @staticmethod
    def of(engine: SGLora, made: Adaptation) -> Sketch:
        """Without a generator, the sample is the merge, and there is no z."""
        prior, generator, repository = made.prior, engine.generator, engine.repository
        rows, whole = repository.coordinates[made.routing.chosen], norm(made.own)
        draws = [] if generator is None else [generator.sample(prior, seed) for seed in (made.request.seed, *SEEDS)]
        theta, *thetas = [draw.theta for draw in draws] or [prior.mean]
        first = [each[..., :COORDINATES].tolist() for each in (prior.mean, prior.variance.sqrt(), rows, theta)]
        away = torch.stack(thetas) - torch.stack(thetas).mean(0) if thetas else rows[:0]
        steps = repository.basis.decode(torch.cat([(theta - prior.mean)[None], away]))
        added, *apart = (100 * norm(Lora.from_vector(repository.layout, step)) / whole for step in steps)
        if generator is None:
            return Sketch(len(theta), *first, added=added)
        latent, apart = generator.latent(prior), (sum(each**2 for each in apart) / len(apart)) ** 0.5
        zs = torch.stack([latent.mean, latent.stddev, *(draw.z for draw in draws)])
        return Sketch(len(theta), *first, added=added, latent=zs[:, latent.stddev.topk(2).indices].tolist(), apart=apart)


def norm(lora: Lora) -> float:
    """The Frobenius norm of the weight changes of all linears: |B A|^2 = sum(B'B * A A')."""
    return float(sum(((f.b.T @ f.b) * (f.a @ f.a.T)).sum() for f in lora.factors.values())) ** 0.5
