"""Calibrate the confidence of a repository: leave every expert out once, and see what the others do for its task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from core.backbones.base import Backbone
from core.confidence import ConfidenceModel, evidence
from core.experts import ExpertRepository
from core.lora import merge
from core.metrics import both_directions
from core.router import Routing, SparseRouter
from core.training.pool import Pool
from core.training.tasks import Task

PHOTOS = 256
# Sentences about no photos at all: how close is "not close"? None of them is a control of the experiments.
ABOUT_NOTHING = (
    "minutes of a shareholder meeting",
    "the rules of Latin grammar",
    "interest rates and inflation",
    "how to configure a database server",
    "an essay on moral philosophy",
    "the history of the printing press in law",
    "quantum field theory lecture notes",
    "terms and conditions of an insurance",
    "the etymology of a word",
    "source code of a compiler",
    "election results by district",
    "a prime number theorem",
    "the smell of ammonia",
    "copyright and patent disputes",
    "an audio book about economics",
)


@dataclass(frozen=True)
class LeaveOut:
    """One expert left out: how its description was routed to the others, and what their merge gained on its photos.

    Attributes:
        others: [n - 1] indexes of the other experts. routing: over them. gain: in points, as ``Confidence.gain``.
    """

    others: Tensor
    routing: Routing
    gain: float


def gain_of(images: Tensor, zero_shot: Tensor, texts: Tensor, relevance: object) -> float:
    """Gain in points, mean of R@1 and R@5 in both directions, of adapted over zero-shot embeddings [n, d]."""
    after, before = (both_directions(x, texts, relevance) for x in (images, zero_shot))  # type: ignore[arg-type]
    return float(np.mean([after[way][k] - before[way][k] for way in ("i2t", "t2i") for k in ("R@1", "R@5")]))


def photos_to_judge(task: Task, most: int = PHOTOS) -> np.ndarray:
    """Rows that no other task trained on: the stop photos of a captioned task, whose training photos may belong to other
    tasks, too; all photos of a label task that are not for measuring."""
    rows = np.concatenate([task.stop, task.train]) if task.classes else task.stop
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(int)]


def leave_one_out_gains(backbone: Backbone, pool: Pool, repository: ExpertRepository, tasks: Sequence[Task]) -> list[float]:
    """For each expert: what the merge of the others, routed by its description, gains on its photos, in points.

    Args:
        tasks: [n] those of the experts, in order.
    """
    gains = []
    for i, task in enumerate(tasks):
        others, routing = _routed_without(repository, i)
        chosen = others[routing.chosen].tolist()
        merged = merge([repository.lora(j) for j in chosen], routing.weights.tolist())
        maps, texts, relevance = pool.evaluation(photos_to_judge(task))
        gains.append(gain_of(backbone.suffix(maps, merged), backbone.suffix(maps, None), texts, relevance))
    return gains


def _routed_without(repository: ExpertRepository, i: int) -> tuple[Tensor, Routing]:
    others = torch.tensor([j for j in range(len(repository)) if j != i])
    description = repository.experts[i].description
    return others, SparseRouter(repository.embeddings[others]).route(description, repository.embeddings[i])


def fit_confidence(found: Sequence[LeaveOut], nothing: Sequence[float]) -> ConfidenceModel:
    """Least squares through all left-out experts, slopes 0 or more. An expert fits from where the line has points: not below
    the closeness of every left-out expert, nor of sentences about nothing.

    Args:
        nothing: closeness of sentences about no photos at all; their 95th percentile counts.
    """
    gains = torch.tensor([f.gain for f in found])
    x = np.array([[1.0, *evidence(f.routing, gains[f.others])] for f in found])
    bias, closeness, transfer = lsq_linear(x, gains.numpy(), ([-np.inf, 0, 0], np.inf)).x
    errors = gains.numpy() - x @ [bias, closeness, transfer]
    spread = float(np.sqrt((errors**2).sum() / max(len(found) - 3, 1)))
    lowest = max(float(x[:, 1].min()), float(np.percentile(nothing, 95)) if len(nothing) else -1.0)
    return ConfidenceModel(float(bias), float(closeness), float(transfer), max(spread, 0.1), lowest, len(found))


def with_confidence(backbone: Backbone, repository: ExpertRepository, gains: Sequence[float]) -> ExpertRepository:
    """The repository with its experts' transfers and its confidence.

    Fewer than four experts are too few to leave one out: their repository stays without.

    Args:
        gains: [n] of ``leave_one_out_gains``.
    """
    if len(gains) < 4:
        return repository
    found = [LeaveOut(*_routed_without(repository, i), gain) for i, gain in enumerate(gains)]
    router = SparseRouter(repository.embeddings)
    sentences = backbone.encode_sentence(ABOUT_NOTHING)
    routed = [router.route(text, e) for text, e in zip(ABOUT_NOTHING, sentences, strict=True)]
    model = fit_confidence(found, [evidence(r, torch.tensor(gains))[0] for r in routed])
    experts = tuple(replace(e, transfer=round(gain, 3)) for e, gain in zip(repository.experts, gains, strict=True))
    return replace(repository, experts=experts, confidence=model)
