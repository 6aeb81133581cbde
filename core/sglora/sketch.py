"""Numbers that show how an adapter was made: the prior c, z ~ p(z | c), and what the decoder adds. Nothing is estimated.

Paper: https://arxiv.org/abs/2509.10535, semantic prior and generation.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

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
        prior, generator, rows = made.prior, engine.generator, engine.repository.coordinates[made.routing.chosen]
        theta = prior.mean if generator is None else generator.sample(prior, made.request.seed).theta
        first = [each[..., :COORDINATES].tolist() for each in (prior.mean, prior.variance.sqrt(), rows, theta)]
        sketch = Sketch(len(theta), *first, added=percent(engine, theta - prior.mean, made))
        if generator is None:
            return sketch
        latent, draws = generator.latent(prior), [generator.sample(prior, seed) for seed in SEEDS]
        deviation, thetas = (0.5 * latent.log_variance).exp(), torch.stack([draw.theta for draw in draws])
        zs = torch.stack([latent.mean, deviation, made.z, *(draw.z for draw in draws)])
        squares = [percent(engine, step, made) ** 2 for step in thetas - thetas.mean(0)]
        widest = zs[:, deviation.topk(2).indices].tolist()
        return replace(sketch, latent=widest, apart=(sum(squares) / len(squares)) ** 0.5)


def percent(engine: SGLora, step: Tensor, made: Adaptation) -> float:
    """The weight change of a step in coordinates [D], in percent of the expert LoRA's."""
    step = engine.repository.basis.decode(step)
    return 100 * norm(Lora.from_vector(engine.repository.layout, step)) / norm(made.own)


def norm(lora: Lora) -> float:
    """The Frobenius norm of the weight changes of all linears: |B A|^2 = sum(B'B * A A')."""
    return float(sum(((f.b.T @ f.b) * (f.a @ f.a.T)).sum() for f in lora.factors.values())) ** 0.5
