"""A map of all experts on a plane (principal components), with a sentence placed among them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from core.sglora.repository import ExpertRepository


def description_map(
    repository: ExpertRepository, embedding: Tensor | None = None, owned: int = 0
) -> tuple[list[tuple[float, float]], float]:
    """Places of all experts by the embeddings of their descriptions, and last of another sentence by its embedding [s].

    ``owned``: the number of the visitor's experts, the last ones. They are placed on the map but do not affect its axes. Also
    returns the share of the experts' spread that the two axes show.
    """
    known, every = repository.embeddings[: len(repository) - owned or None].double(), repository.embeddings
    _, spread, axes = torch.linalg.svd(known - known.mean(0), full_matrices=False)
    # The sign of an axis is arbitrary: make its largest number positive, so that a map is never mirrored.
    axes = axes[:2] * axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True)).sign()
    if embedding is not None:
        every = torch.cat([every, embedding[None]])
    places = F.pad((every.double() - known.mean(0)) @ axes.T, (0, 2 - len(axes)))  # one expert has no second axis
    shown = spread[:2].square().sum() / spread.square().sum()
    return list(map(tuple, places.tolist())), float(shown.nan_to_num(1))
