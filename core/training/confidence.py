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
    "a recording of birdless silence",
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


def leave_out(backbone: Backbone, pool: Pool, repository: ExpertRepository, tasks: Sequence[Task]) -> list[LeaveOut]:
    """Leave out every expert once; ``tasks`` [n] are theirs, in order."""
    found = []
    for i, task in enumerate(tasks):
        others = torch.tensor([j for j in range(len(tasks)) if j != i])
        routing = SparseRouter(repository.embeddings[others]).route(task.description, repository.embeddings[i])
        chosen = others[routing.chosen].tolist()
        merged = merge([repository.lora(j) for j in chosen], routing.weights.tolist())
        maps, texts, relevance = pool.evaluation(photos_to_judge(task))
        gain = gain_of(backbone.suffix(maps, merged), backbone.suffix(maps, None), texts, relevance)
        found.append(LeaveOut(others, routing, gain))
    return found


def fit_confidence(found: Sequence[LeaveOut], nothing: Sequence[float]) -> ConfidenceModel:
    """Least squares through all left-out experts, slopes 0 or more.

    Args:
        nothing: closeness of sentences about no photos at all; the 95th percentile is where fitting begins.
    """
    gains = torch.tensor([f.gain for f in found])
    x = np.array([[1.0, *evidence(f.routing, gains[f.others])] for f in found])
    bias, closeness, transfer = lsq_linear(x, gains.numpy(), ([-np.inf, 0, 0], np.inf)).x
    errors = gains.numpy() - x @ [bias, closeness, transfer]
    spread = float(np.sqrt((errors**2).sum() / max(len(found) - 3, 1)))
    lowest = float(np.percentile(nothing, 95)) if len(nothing) else -1.0
    return ConfidenceModel(float(bias), float(closeness), float(transfer), max(spread, 0.1), lowest, len(found))


def with_confidence(
    backbone: Backbone, pool: Pool, repository: ExpertRepository, tasks: Sequence[Task]
) -> tuple[ExpertRepository, list[LeaveOut]]:
    """The repository with its experts' transfers and its confidence, and the left-out experts behind them.

    Fewer than four experts are too few to leave one out: their repository stays without.
    """
    if len(tasks) < 4:
        return repository, []
    found = leave_out(backbone, pool, repository, tasks)
    router = SparseRouter(repository.embeddings)
    sentences = backbone.encode_sentence(ABOUT_NOTHING)
    routed = [router.route(text, e) for text, e in zip(ABOUT_NOTHING, sentences, strict=True)]
    gains = torch.tensor([f.gain for f in found])
    model = fit_confidence(found, [evidence(r, gains)[0] for r in routed])
    experts = tuple(replace(e, transfer=round(f.gain, 3)) for e, f in zip(repository.experts, found, strict=True))
    return replace(repository, experts=experts, confidence=model), found
