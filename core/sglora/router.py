"""SparseRouter: from a description to the closest experts and their weights.

Paper: https://arxiv.org/abs/2509.10535, semantic routing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.common.errors import RepositoryError
from core.sglora.request import DEFAULT_K, DEFAULT_TAU

NO_EXPERTS = "This model has no experts yet: train one, import a LoRA (PEFT), or give a repository (--experts)."
MIN_TAU = 1e-9  # below this, float32 similarities differ by far more than tau anyway


@dataclass(frozen=True)
class Routing:
    """The experts that a cleaned description is routed to."""

    description: str
    embedding: Tensor  # [s], of the sentence
    similarity: Tensor  # [n], its cosine similarity to every expert of the repository
    chosen: Tensor  # [k], indexes of the routed experts, closest first
    weights: Tensor  # [k], softmax weights alpha with temperature tau, summing to 1
    tau: float
    by_hand: bool = False  # whether the weights were given; then ``tau`` shaped nothing

    @property
    def closeness(self) -> float:
        """Weighted mean similarity of the routed experts."""
        return float(self.weights @ self.similarity[self.chosen])

    def weighted(self, given: Mapping[int, float]) -> Routing:
        """The same sentence with given weights of experts, by index, in the place of its own: scaled to sum to 1."""
        chosen = torch.tensor([i for i in self.similarity.argsort(descending=True).tolist() if given.get(i, 0) > 0])
        weights = torch.tensor([given[i] for i in chosen.tolist()], dtype=torch.float64)
        weights = weights / weights.max()  # first: the sum of huge ones would be infinite
        return replace(self, chosen=chosen, weights=(weights / weights.sum()).float(), by_hand=True)

    def between(self, other: Routing, t: float) -> dict[int, float]:
        """The weights by expert on the path to another sentence: alpha = (1 - t) alpha_A + t alpha_B."""
        alpha = torch.zeros_like(self.similarity)
        alpha[self.chosen] += (1 - t) * self.weights
        alpha[other.chosen] += t * other.weights
        return {i: float(alpha[i]) for i in alpha.nonzero()[:, 0].tolist()}


@dataclass(frozen=True)
class SparseRouter:
    """Selects the k experts whose unit-length embeddings [n, s] are closest; weights them by softmax(similarity / tau)."""

    embeddings: Tensor

    def route(self, description: str, embedding: Tensor, k: int = DEFAULT_K, tau: float = DEFAULT_TAU) -> Routing:
        """Route a sentence with embedding [s]. If k exceeds the number of experts, all are chosen. Raises RepositoryError: when
        there are no experts."""
        if not len(self.embeddings):
            raise RepositoryError(NO_EXPERTS)
        similarity = self.embeddings @ embedding
        top = similarity.topk(min(k, len(similarity)))
        # Relative to the closest, so that a tiny tau selects the closest expert alone instead of overflowing.
        weights = torch.softmax((top.values - top.values[0]) / max(tau, MIN_TAU), 0)
        return Routing(description, embedding, similarity, top.indices, weights, tau)
