"""From which closeness on an expert fits a description: below it, sentences are further away than topics that were left out."""

from __future__ import annotations

import torch
from torch import Tensor

from core.sglora.repository import ExpertRepository
from core.sglora.router import SparseRouter

NEAR = 0.6  # similarity of descriptions from which an everyday expert is about the same topic
LOWEST = 0.05  # share of left-out topics that are further away
FEWEST_TOPICS = 5


def closeness_threshold(repository: ExpertRepository) -> float | None:
    """The LOWEST quantile of closeness over experts whose own topic is left out; None with too few of them to say."""
    closeness = []
    for i in range(len(repository)):
        others = others_of(repository, i)
        if len(others) >= 2:
            closeness.append(SparseRouter(repository.embeddings[others]).route("", repository.embeddings[i]).closeness)
    return float(torch.tensor(closeness).quantile(LOWEST)) if len(closeness) >= FEWEST_TOPICS else None


def others_of(repository: ExpertRepository, i: int) -> Tensor:
    """Indexes of the experts that are not about expert i's topic: not close to it, nor of its special domain."""
    group = repository.experts[i].group
    same = repository.embeddings @ repository.embeddings[i] > NEAR
    if group != "scenes":
        same |= torch.tensor([expert.group == group for expert in repository.experts])
    same[i] = True
    return (~same).nonzero()[:, 0]
