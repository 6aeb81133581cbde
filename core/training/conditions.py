"""What the generator is conditioned on, for any mixture of experts, without going through their parameters again.

Training draws tens of thousands of mixtures. For ViT-B/16 each would pass 110,592 means and variances and project them; but
projected, the prior's mean is linear in the experts' means, and its variance is linear in their variances and quadratic in
how far apart their means are. So a projection of each expert and of each pair of experts says everything.
"""

from __future__ import annotations

import torch
from torch import Tensor

from core.sglora.subspace import VARIANCE_FLOOR, Basis


class Conditions:
    """``basis.condition(semantic_prior(means[chosen], variances[chosen], weights))`` for many ``chosen`` and ``weights``.

    Args:
        basis: of the LoRA vectors.
        means: [n, P] mu_i. variances: [n, P] sigma_i^2.
    """

    def __init__(self, basis: Basis, means: Tensor, variances: Tensor) -> None:
        self._coordinates = basis.encode(means)
        self._own = variances @ basis.squares.T / basis.scale.square()
        apart = means - means.mean(0)  # what all share cancels, and would drown the rest in rounding
        rows = zip(basis.components, basis.scale, strict=True)
        self._pairs = torch.stack([(part := apart * (row / scale)) @ part.T for row, scale in rows])

    def of(self, chosen: Tensor, weights: Tensor) -> Tensor:
        """c = (mu*, log sigma*^2) in coordinates, [2 D].

        Args:
            chosen: [k] indexes of experts. weights: [k] alpha_i, summing to 1.
        """
        pairs = self._pairs[:, chosen[:, None], chosen]
        between = pairs.diagonal(dim1=1, dim2=2) @ weights - pairs @ weights @ weights
        variance = weights @ self._own[chosen] + between.clamp(min=0)
        return torch.cat([weights @ self._coordinates[chosen], (variance + VARIANCE_FLOOR).log()])
