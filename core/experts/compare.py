"""Distances between experts and generated LoRAs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from core.backbones.lora import Lora
from core.sglora.repository import ExpertRepository
from core.sglora.router import Routing


@dataclass(frozen=True)
class ExpertComparison:
    """Two experts compared by their own parts: with the shared part, any two would be similar. Cosines (-1 to 1) are of weight
    changes; 0 if one expert changes nothing."""

    names: tuple[str, str]
    cosine: float  # all linears as one long vector
    modules: Mapping[str, float]  # the cosine of each linear, by name
    distance: float  # Frobenius norm of the difference of the weight changes
    norms: tuple[float, float]  # Frobenius norm of each weight change
    description_cosine: float  # of the description embeddings, as for routing


def compare_experts(repository: ExpertRepository, i: int, j: int) -> ExpertComparison:
    one, two = repository.own(i), repository.own(j)
    deltas = {name: [lora.factors[name].delta.double().flatten() for lora in (one, two)] for name in one.factors}
    whole_one, whole_two = (torch.cat(parts) for parts in zip(*deltas.values(), strict=True))
    return ExpertComparison(
        names=(repository.experts[i].name, repository.experts[j].name),
        cosine=_cosine(whole_one, whole_two),
        modules={name: _cosine(*pair) for name, pair in deltas.items()},
        distance=float((whole_one - whole_two).norm()),
        norms=(float(whole_one.norm()), float(whole_two.norm())),
        description_cosine=float(repository.embeddings[i] @ repository.embeddings[j]),
    )


def _cosine(one: Tensor, two: Tensor) -> float:
    return float(torch.cosine_similarity(one, two, 0))


@dataclass(frozen=True)
class LoraDistances:
    """Distances of a LoRA: Frobenius norms of differences of weight changes."""

    names: tuple[str, ...]  # the routed experts, closest by description first
    experts: tuple[float, ...]  # distance to each
    origin: float  # distance to the experts' shared start
    norm: float  # distance to zero


def nearest_distances(repository: ExpertRepository, routing: Routing, lora: Lora) -> LoraDistances:
    """Distances of a LoRA, such as ``adaptation.full``, to the routed experts and their shared start."""
    chosen = routing.chosen.tolist()
    return LoraDistances(
        names=tuple(repository.experts[i].name for i in chosen),
        experts=tuple(distance(lora, repository.lora(i)) for i in chosen),
        origin=distance(lora, repository.start()),
        norm=math.hypot(*lora.norms().values()),
    )


def distance(a: Lora, b: Lora) -> float:
    """Frobenius norm of the difference of two weight changes."""
    square = 0.0
    for name in a.factors.keys() | b.factors.keys():
        one, two = a.factors.get(name), b.factors.get(name)
        if one is not two:  # the same object: both LoRAs have the shared part there
            deltas = [0.0 if f is None else f.delta.double() for f in (one, two)]
            square += float(torch.as_tensor(deltas[0] - deltas[1]).square().sum())
    return math.sqrt(square)
