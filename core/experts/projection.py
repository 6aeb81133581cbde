"""Maps of all experts on a plane (principal components), with a description or a sample placed among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from core.sglora.engine import SGLora
from core.sglora.prior import SemanticPrior
from core.sglora.repository import ExpertRepository
from core.sglora.router import Routing

Point = tuple[float, float]


@dataclass(frozen=True)
class ExpertMap:
    points: tuple[Point, ...]  # [n], in the repository's order
    placed: Point | None  # the description or the sample; it does not affect the others
    shown: float  # share of the experts' spread that the two axes show, 0 to 1
    prior: Point | None = None  # latent map only: the mean of the p(z | c) that the sample was drawn from


def description_map(repository: ExpertRepository, embedding: Tensor | None = None, owned: int = 0) -> ExpertMap:
    """A map of all experts by the embeddings of their descriptions, and of another sentence by its embedding [s]. ``owned``:
    the number of the visitor's experts, the last ones. They are placed on the map but do not affect its axes."""
    place, shown = _plane(repository.embeddings[: len(repository) - owned or None])
    placed = None if embedding is None else place(embedding[None])[0]
    return ExpertMap(place(repository.embeddings), placed, shown)


def latent_map(engine: SGLora, routing: Routing, z: Tensor, owned: int = 0) -> ExpertMap | None:
    """A map of the generator's latent space: each expert at the mean of p(z | its own mu and sigma), and a sample z [latent].
    ``owned``: as for ``description_map``. None without a generator."""
    repository = engine.repository
    if engine.generator is None:
        return None
    alone = SemanticPrior(repository.coordinates, repository.variances)  # one row per expert, as if routed to it alone
    means = engine.generator.latent(alone).mean
    place, shown = _plane(means[: len(repository) - owned])
    prior = engine.generator.latent(repository.prior(routing)).mean
    return ExpertMap(place(means), place(z[None])[0], shown, place(prior[None])[0])


def _plane(rows: Tensor) -> tuple[Callable[[Tensor], tuple[Point, ...]], float]:
    """A function that places rows on the two widest directions of ``rows`` [n, d], and their share of the squared spread."""
    rows = rows.double()
    centre = rows.mean(0)
    _, spread, directions = torch.linalg.svd(rows - centre, full_matrices=False)
    # Rounding gives equal rows a tiny spread: ignore it.
    spread = torch.where(spread > 1e-6 * rows.norm(), spread, torch.zeros_like(spread))
    axes = rows.new_zeros(2, rows.shape[1])
    for i in range(min(2, int((spread > 0).sum()))):
        # The sign of an axis is arbitrary: make its largest number positive, so that a map is never mirrored.
        axes[i] = directions[i] * directions[i][directions[i].abs().argmax()].sign()

    def place(others: Tensor) -> tuple[Point, ...]:
        return tuple((x, y) for x, y in ((others.double() - centre) @ axes.T).tolist())

    whole = float(spread.square().sum())
    return place, float(spread[:2].square().sum()) / whole if whole else 1.0
