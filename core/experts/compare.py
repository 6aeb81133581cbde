"""Distances between LoRAs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from core.backbones.lora import Lora
from core.sglora.repository import ExpertRepository
from core.sglora.router import Routing


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
