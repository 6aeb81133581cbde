"""Calibrate the confidence of a repository: leave every expert out once, and see what the others do for its task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from core.backbones.base import Backbone
from core.backbones.lora_algebra import merge
from core.common.metrics import both_directions
from core.sglora.confidence import ConfidenceModel, evidence
from core.sglora.repository import ExpertRepository
from core.sglora.router import Routing, SparseRouter
from core.training.task_dataset import Pool
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
        closeness, transfer: as in ``Confidence``, of the others that it was routed to. gain: in points. photos: behind it.
    """

    closeness: float
    transfer: float
    gain: float
    photos: int


def gain_of(images: Tensor, zero_shot: Tensor, texts: Tensor, relevance: object) -> float:
    """Gain in points, mean of R@1 and R@5 in both directions, of adapted over zero-shot embeddings [n, d]."""
    after, before = (both_directions(x, texts, relevance) for x in (images, zero_shot))  # type: ignore[arg-type]
    return float(np.mean([after[way][k] - before[way][k] for way in ("i2t", "t2i") for k in ("R@1", "R@5")]))


def photos_to_judge(task: Task, most: int = PHOTOS) -> np.ndarray:
    """Rows that no other task trained on: the stop photos of a captioned task, whose training photos may belong to other
    tasks, too; all photos of a label task that are not for measuring."""
    rows = np.concatenate([task.stop, task.train]) if task.classes else task.stop
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(int)]


def leave_one_out_gains(
    backbone: Backbone, pool: Pool, repository: ExpertRepository, tasks: Sequence[Task]
) -> list[tuple[float, int]]:
    """For each expert: what the merge of the others, routed by its description, gains on its photos, in points; and how many
    photos these are.

    Args:
        tasks: [n] those of the experts, in order.
    """
    gains = []
    for i, task in enumerate(tasks):
        others, routing = _routed_without(repository, i)
        chosen = others[routing.chosen].tolist()
        merged = merge([repository.lora(j) for j in chosen], routing.weights.tolist())
        rows = photos_to_judge(task)
        maps, texts, relevance = pool.evaluation(rows)
        gains.append((gain_of(backbone.suffix(maps, merged), backbone.suffix(maps, None), texts, relevance), len(rows)))
    return gains


def _routed_without(repository: ExpertRepository, i: int) -> tuple[Tensor, Routing]:
    others = torch.tensor([j for j in range(len(repository)) if j != i])
    description = repository.experts[i].description
    return others, SparseRouter(repository.embeddings[others]).route(description, repository.embeddings[i])


def group_transfers(groups: Sequence[str], gains: Sequence[tuple[float, int]], without: int | None = None) -> Tensor:
    """[n] for each expert, the mean gain of leaving out the experts of its group, weighted by their photos.

    A single task's few photos say little; what its whole group (everyday scenes, or one special domain) says is what neighbours
    of a new task have in common.

    Args:
        without: an expert whose own gain is not to count; a group of it alone then has the mean of all.
    """
    counted = [(g, gain, n) for i, (g, (gain, n)) in enumerate(zip(groups, gains, strict=True)) if i != without]
    overall = _weighted([(gain, n) for _, gain, n in counted])
    means = {group: _weighted([(gain, n) for g, gain, n in counted if g == group]) for group in {g for g, _, _ in counted}}
    return torch.tensor([means.get(g, overall) for g in groups], dtype=torch.float32)


def _weighted(gains: Sequence[tuple[float, int]]) -> float:
    return sum(gain * n for gain, n in gains) / sum(n for _, n in gains)


def fit_confidence(found: Sequence[LeaveOut], nothing: Sequence[float]) -> ConfidenceModel:
    """Least squares through all left-out experts, weighted by their photos, slopes 0 or more. An expert fits from where the
    line has points: not below the closeness of every left-out expert, nor of sentences about nothing.

    Args:
        nothing: closeness of sentences about no photos at all; their 95th percentile counts.
    """
    x = np.array([[1.0, f.closeness, f.transfer] for f in found])
    gains, photos = np.array([f.gain for f in found]), np.array([f.photos for f in found], dtype=float)
    root = np.sqrt(photos / photos.mean())
    bias, closeness, transfer = lsq_linear(x * root[:, None], gains * root, ([-np.inf, 0, 0], np.inf)).x
    errors = (gains - x @ [bias, closeness, transfer]) * root
    spread = float(np.sqrt((errors**2).sum() / max(len(found) - 3, 1)))
    lowest = max(float(x[:, 1].min()), float(np.percentile(nothing, 95)) if len(nothing) else -1.0)
    return ConfidenceModel(float(bias), float(closeness), float(transfer), max(spread, 0.1), lowest, len(found))


def with_confidence(backbone: Backbone, repository: ExpertRepository, gains: Sequence[tuple[float, int]]) -> ExpertRepository:
    """The repository with its experts' transfers and its confidence.

    Fewer than four experts are too few to leave one out: their repository stays without.

    Args:
        gains: [n] of ``leave_one_out_gains``.
    """
    if len(gains) < 4:
        return repository
    groups = [e.group for e in repository.experts]
    found = []
    for i, (gain, photos) in enumerate(gains):
        others, routing = _routed_without(repository, i)
        closeness, transfer = evidence(routing, group_transfers(groups, gains, without=i)[others])
        found.append(LeaveOut(closeness, transfer, gain, photos))
    router = SparseRouter(repository.embeddings)
    transfers = group_transfers(groups, gains)
    sentences = backbone.encode_sentence(ABOUT_NOTHING)
    routed = [router.route(text, e) for text, e in zip(ABOUT_NOTHING, sentences, strict=True)]
    model = fit_confidence(found, [evidence(r, transfers)[0] for r in routed])
    experts = tuple(replace(e, transfer=round(float(t), 3)) for e, t in zip(repository.experts, transfers, strict=True))
    return replace(repository, experts=experts, confidence=model)
