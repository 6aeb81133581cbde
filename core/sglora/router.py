"""SparseRouter: from a description to the closest experts and their weights.

Paper: https://arxiv.org/abs/2509.10535, semantic routing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from core.common.errors import DescriptionError, RepositoryError
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

    @property
    def closeness(self) -> float:
        """Weighted mean similarity of the routed experts."""
        return float(self.weights @ self.similarity[self.chosen])


@dataclass(frozen=True)
class SparseRouter:
    """Selects the k experts whose unit-length embeddings [n, s] are closest; weights them by softmax(similarity / tau)."""

    embeddings: Tensor

    def route(self, description: str, embedding: Tensor, k: int = DEFAULT_K, tau: float = DEFAULT_TAU) -> Routing:
        """Route a sentence with embedding [s]. If k exceeds the number of experts, all are chosen. Raises DescriptionError:
        when k is below 1 or tau is not above 0. RepositoryError: when there are no experts."""
        if k < 1:
            raise DescriptionError(f"k is {k}: at least one expert is needed.")
        if not tau > 0:
            raise DescriptionError(f"tau is {tau}: the temperature must be above 0.")
        if not len(self.embeddings):
            raise RepositoryError(NO_EXPERTS)
        similarity = self.embeddings @ embedding
        top = similarity.topk(min(k, len(similarity)))
        # Relative to the closest, so that a tiny tau selects the closest expert alone instead of overflowing.
        weights = torch.softmax((top.values - top.values[0]) / max(tau, MIN_TAU), 0)
        return Routing(description, embedding, similarity, top.indices, weights, tau)
