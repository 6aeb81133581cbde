"""The least closeness at which an expert fits a description, calibrated on left-out topics."""

import torch
from torch import Tensor

from core.sglora.repository import ExpertRepository
from core.sglora.router import SparseRouter

NEAR = 0.6  # everyday experts with more similar keys are about the same topic
LOWEST = 0.05  # share of left-out topics below the threshold
FEWEST_TOPICS = 5


def closeness_threshold(repository: ExpertRepository) -> float | None:
    """The LOWEST quantile of the closeness of experts' keys when their own topic is left out; None with too few experts."""
    closeness = []
    for i in range(len(repository)):
        others = others_of(repository, i)
        if len(others) >= 2:
            closeness.append(SparseRouter(repository.embeddings[others]).route("", repository.embeddings[i]).closeness)
    return float(torch.tensor(closeness).quantile(LOWEST)) if len(closeness) >= FEWEST_TOPICS else None


def others_of(repository: ExpertRepository, i: int) -> Tensor:
    """Indexes of the experts of other topics: not close to expert i, and not of its special domain."""
    group = repository.experts[i].group
    same = repository.embeddings @ repository.embeddings[i] > NEAR
    if group != "scenes":
        same |= torch.tensor([expert.group == group for expert in repository.experts])
    same[i] = True
    return (~same).nonzero()[:, 0]
