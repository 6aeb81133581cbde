"""Maps of all experts on a plane, with a description or a sample placed among them (principal components)."""

from __future__ import annotations

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
    """Experts on a plane.

    Attributes:
        points: [n] where each is, in the repository's order.
        placed: where the description or the sample is; it does not move the others.
        shown: share of the experts' spread that the two axes show, 0 to 1; the rest cannot be seen.
        prior: on a latent map, the mean of the p(z | c) that the sample was drawn from; None on others.
    """

    points: tuple[Point, ...]
    placed: Point | None
    shown: float
    prior: Point | None = None


def description_map(repository: ExpertRepository, embedding: Tensor | None = None, owned: int = 0) -> ExpertMap:
    """All experts by the sentence embeddings of their descriptions, and the embedding [s] of another sentence among them.

    The last ``owned`` experts are the visitor's: they are placed on the plane of the others, which they do not turn.
    """
    plane = _Plane.through(repository.embeddings[: len(repository) - owned])
    placed = None if embedding is None else plane.place(embedding)
    return ExpertMap(plane.all(repository.embeddings), placed, plane.shown)


def latent_map(engine: SGLora, routing: Routing, z: Tensor, owned: int = 0) -> ExpertMap:
    """All experts in the generator's latent space, each at the mean of p(z | its own mu and sigma), and a sample z [latent].

    ``owned`` as for ``description_map``.
    """
    repository = engine.repository
    alone = SemanticPrior(repository.means, repository.stds.square())  # one row an expert, as if routed to it alone
    means = engine.generator.latent(alone).mean
    plane = _Plane.through(means[: len(repository) - owned])
    prior = engine.generator.latent(repository.prior(routing)).mean
    return ExpertMap(plane.all(means), plane.place(z), plane.shown, plane.place(prior))


@dataclass(frozen=True)
class _Plane:
    """The plane of the two widest directions of some rows.

    Attributes:
        centre: [d] their mean. axes: [2, d] orthonormal, or zero where the rows spread in fewer directions.
        shown: share of the rows' squared spread in the plane.
    """

    centre: Tensor
    axes: Tensor
    shown: float

    @staticmethod
    def through(rows: Tensor) -> _Plane:
        """For rows [n, d]."""
        rows = rows.double()
        centre = rows.mean(0)
        _, spread, directions = torch.linalg.svd(rows - centre, full_matrices=False)
        # Rounding leaves spread where there is none, such as between equal rows: no axis then.
        spread = torch.where(spread > 1e-6 * rows.norm(), spread, torch.zeros_like(spread))
        axes = rows.new_zeros(2, rows.shape[1])
        for i in range(min(2, int((spread > 0).sum()))):
            # An axis may point either way: its largest number is made positive, so that a map is never mirrored.
            axes[i] = directions[i] * directions[i][directions[i].abs().argmax()].sign()
        whole = float(spread.square().sum())
        return _Plane(centre, axes, float(spread[:2].square().sum()) / whole if whole else 1.0)

    def place(self, row: Tensor) -> Point:
        """The point of one row [d]."""
        x, y = ((row.double() - self.centre) @ self.axes.T).tolist()
        return x, y

    def all(self, rows: Tensor) -> tuple[Point, ...]:
        """The points of rows [n, d]."""
        return tuple((x, y) for x, y in ((rows.double() - self.centre) @ self.axes.T).tolist())
