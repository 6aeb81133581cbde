"""A low-dimensional, whitened basis of LoRA vectors: principal directions of the experts' means around their shared start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from core.common.lazy import lazy
from core.sglora.prior import SemanticPrior

VARIANCE_FLOOR = 1e-4  # added to a whitened variance, so that the log-variance of a single expert stays finite


@dataclass(frozen=True)
class Basis:
    """Coordinates x of a vector theta: origin + (x * scale) @ components is theta without what no component spans."""

    origin: Tensor  # [P], the vector with zero coordinates: the experts' shared initialisation
    components: Tensor  # [D, P], orthonormal rows
    scale: Tensor  # [D], spread of the experts along each component

    @property
    def dimensions(self) -> int:
        return len(self.scale)

    @lazy
    def squares(self) -> Tensor:
        """Squared components [D, P], which project variances. Cached, since squaring takes most of a condition's time."""
        return self.components.square()

    @staticmethod
    def fit(vectors: Tensor, origin: Tensor, dimensions: int) -> Basis:
        """Find the principal directions of vectors [n, P] around the origin [P]. D is ``dimensions``, or the rank if lower."""
        _, singular, rows = torch.linalg.svd(vectors - origin, full_matrices=False)
        d = min(dimensions, int((singular > 1e-6 * singular[0]).sum()))
        return Basis(origin, rows[:d].contiguous(), singular[:d] / len(vectors) ** 0.5)

    @staticmethod
    def of(tensors: Mapping[str, Tensor], dimensions: int) -> Basis:
        """Rebuild a basis from its ``tensors``. Raises KeyError, ValueError: when a tensor is missing or sizes do not match."""
        basis = Basis(*(tensors[f"basis.{k}"] for k in ("origin", "components", "scale")))
        if basis.components.shape != (dimensions, len(basis.origin)) or basis.scale.shape != (dimensions,):
            raise ValueError("a basis of another size")
        return basis

    def encode(self, vectors: Tensor) -> Tensor:
        """Coordinates [..., D] of vectors [..., P]."""
        return (vectors - self.origin) @ self.components.T / self.scale

    def step(self, coordinates: Tensor) -> Tensor:
        """The change of vectors [..., P] for a change of coordinates [..., D]."""
        return (coordinates * self.scale) @ self.components

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors, by their names in a file."""
        return {f"basis.{name}": getattr(self, name) for name in ("origin", "components", "scale")}

    def condition(self, prior: SemanticPrior) -> Tensor:
        """c = (mu*, log sigma*^2) in coordinates, [2 D]. The variance is that of the projected diagonal Gaussian."""
        variance = prior.variance @ self.squares.T / self.scale.square()
        return torch.cat([self.encode(prior.mean), (variance + VARIANCE_FLOOR).log()], -1)
