"""A whitened basis of expert LoRAs: the principal directions of their vectors.

A repository stores its experts in this basis, and the VAE generates coordinates of it: a few hundred numbers that span all
experts, instead of tens of thousands that are mostly noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.common.digest import tensors_digest
from core.common.lazy import lazy


@dataclass(frozen=True)
class Basis:
    """Coordinates x [..., D] of vectors [..., P]. (x * scale) @ components is a vector's projection on the components. The zero
    vector (no weight change) has coordinates 0."""

    components: Tensor  # [D, P], orthonormal rows up to rounding
    scale: Tensor  # [D], spread of the experts along each component

    @property
    def dimensions(self) -> int:
        return len(self.scale)

    @lazy
    def digest(self) -> str:
        """A hash of the rounded components and the scale."""
        return tensors_digest({"components": _rounded(self.components)[0], "scale": self.scale})

    @staticmethod
    def fit(vectors: Tensor) -> Basis:
        """The principal directions of vectors [n, P] around 0; D is their rank. Components are rounded as in a file."""
        _, singular, rows = torch.linalg.svd(vectors, full_matrices=False)
        d = int((singular > 1e-6 * singular[0]).sum())
        return Basis.of(*_rounded(rows[:d]), singular[:d] / len(vectors) ** 0.5)

    @staticmethod
    def of(components: Tensor, steps: Tensor, scale: Tensor) -> Basis:
        """The inverse of ``tensors``."""
        return Basis(components.float() * steps[:, None], scale)

    def tensors(self) -> dict[str, Tensor]:
        """For a file: components as int8, with a step for each row. Half the size of float16, 1 % rounding."""
        components, steps = _rounded(self.components)
        return {"components": components, "steps": steps, "scale": self.scale}

    @lazy
    def _inverse(self) -> Tensor:
        """[D, D]; rounded components are not quite orthonormal."""
        return torch.linalg.inv(self.components @ self.components.T)

    def encode(self, vectors: Tensor) -> Tensor:
        """Coordinates [..., D] of vectors [..., P], by least squares."""
        return vectors @ self.components.T @ self._inverse / self.scale

    def decode(self, coordinates: Tensor) -> Tensor:
        """Vectors [..., P] of coordinates [..., D]."""
        return (coordinates * self.scale) @ self.components


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    steps = rows.abs().amax(1) / 127
    return (rows / steps[:, None]).round().to(torch.int8), steps
