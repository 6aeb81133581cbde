"""Calibrate the confidence of a repository: what do other experts do for a topic that none of them is about?

For every expert, its own topic is left out: its whole domain, or for everyday scenes all experts whose descriptions or photos
are close to its own. The others are routed its description and merged, and measured on photos that trained nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import lsq_linear
from scipy.stats import spearmanr
from torch import Tensor

from core.backbones.base import Backbone
from core.common.progress import Bar, Log
from core.sglora.confidence import ConfidenceModel, evidence
from core.sglora.repository import Expert, ExpertRepository
from core.sglora.router import SparseRouter
from core.training.corpus import Corpus

PHOTOS = 256
FEWEST = 8  # photos of a topic that is measured
NEAR = 0.6  # similarity of descriptions from which an everyday expert is about the same topic
FEWEST_TOPICS = 5  # that are left out, for a calibration


@dataclass(frozen=True)
class LeftOut:
    """One topic, and what experts of others gain on its photos.

    Attributes:
        topic: its domain, or for everyday scenes the expert's name. closeness, transfer: as in ``Confidence``.
        gain: of the merged experts, in points. shared: of what all share alone. photos: behind it.
    """

    topic: str
    closeness: float
    transfer: float
    gain: float
    shared: float
    photos: int


def gain_of(after: Mapping[str, Any], before: Mapping[str, Any]) -> float:
    """Gain in points, mean of R@1 and R@5 in both directions, of recalls over those before."""
    return float(np.mean([after[way][k] - before[way][k] for way in ("i2t", "t2i") for k in ("R@1", "R@5")]))


def others_of(repository: ExpertRepository, i: int) -> Tensor:
    """Indexes of the experts that are not about expert i's topic."""
    expert, similarity = repository.experts[i], repository.embeddings @ repository.embeddings[i]
    scene = expert.group == "scenes"
    near = (similarity > NEAR).tolist()
    out = [near[j] or (not scene and e.group == expert.group) for j, e in enumerate(repository.experts)]
    return torch.tensor([j for j, gone in enumerate(out) if not gone and j != i], dtype=torch.long)


def calibrate(backbone: Backbone, corpus: Corpus, repository: ExpertRepository, log: Log = print) -> ExpertRepository:
    """The repository with its experts' transfers and its confidence; with too few topics to leave one out, as it is."""
    measured: dict[int, tuple[float, float, int]] = {}
    bar = Bar("confidence", len(repository), log, "experts left out")
    for i, expert in enumerate(repository.experts):
        bar.to(i)
        rows, others = photos_like(corpus, expert, repository.embeddings[i]), others_of(repository, i)
        if len(rows) < FEWEST or len(others) < 2:
            continue
        part = repository.subset(others.tolist())
        routing = SparseRouter(part.embeddings).route(expert.description, repository.embeddings[i])
        adapters = (None, part.merged(routing), repository.shared)
        before, merged, shared = (corpus.recalls(backbone, rows, lora) for lora in adapters)
        measured[i] = (gain_of(merged, before), gain_of(shared, before), len(rows))
    bar.to(len(repository))
    bar.close()
    if len({_topic(repository.experts[i]) for i in measured}) < FEWEST_TOPICS:
        return repository
    transfers = [measured[i][0] if i in measured else None for i in range(len(repository))]
    found = []
    for i, (gain, shared, photos) in measured.items():
        others = others_of(repository, i)
        routing = SparseRouter(repository.embeddings[others]).route("", repository.embeddings[i])
        known = torch.tensor([t if (t := transfers[j]) is not None else 0.0 for j in others.tolist()])
        found.append(LeftOut(_topic(repository.experts[i]), *evidence(routing, known), gain, shared, photos))
    model = fit_confidence(found, shares=repository.shared is not None)
    log(f"confidence: rank correlation {model.rank_correlation:.2f} over {len(found)} topics that were left out")
    experts = tuple(
        replace(e, transfer=None if t is None else round(t, 3)) for e, t in zip(repository.experts, transfers, strict=True)
    )
    return replace(repository, experts=experts, confidence=model)


def photos_like(corpus: Corpus, expert: Expert, key: Tensor, most: int = PHOTOS) -> np.ndarray:
    """Rows of watched photos of an expert's topic: of its classes, or the captioned ones closest to its description, as large a
    share of them as the expert trained on."""
    if expert.classes:
        known = set(expert.classes)
        rows = [r for r in np.flatnonzero(corpus.watched & ~corpus.captioned) if corpus.samples[r].label in known]
        rows = np.array([r for r in rows if corpus.samples[r].domain == expert.group], dtype=np.int64)
    else:
        pool = np.flatnonzero(corpus.watched & corpus.captioned)
        share = expert.images / max(int((corpus.train & corpus.captioned).sum()), 1)
        closest = np.argsort(-(corpus.photo_sentences[pool] @ key.numpy()))
        rows = np.sort(pool[closest[: max(FEWEST, round(share * len(pool)))]])
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(int)]


def fit_confidence(found: Sequence[LeftOut], shares: bool) -> ConfidenceModel:
    """Least squares through all left-out topics, weighted by their photos, slopes 0 or more. An expert fits from where the line
    has points. The rank correlation is of gains with what a line through all other topics predicts.

    Args:
        shares: whether experts share a part.
    """
    x = np.array([[1.0, f.closeness, f.transfer] for f in found])
    gains, photos = np.array([f.gain for f in found]), np.array([f.photos for f in found], dtype=float)
    line = _line(x, gains, photos)
    root = np.sqrt(photos / photos.mean())
    spread = float(np.sqrt((((gains - x @ line) * root) ** 2).sum() / max(len(found) - 3, 1)))
    topics = np.array([f.topic for f in found])
    predicted = np.zeros(len(found))
    for topic in np.unique(topics):  # by a line through all others: a few parts would make it depend on how they are dealt
        out = topics == topic
        predicted[out] = x[out] @ _line(x[~out], gains[~out], photos[~out])
    correlation = rank_correlation(predicted, gains) if np.ptp(predicted) > 0 else 0.0
    shared = float(np.average([f.shared for f in found], weights=photos)) if shares else None
    bias, closeness, transfer = (float(v) for v in line)
    lowest = float(np.quantile(x[:, 1], 0.05))
    return ConfidenceModel(bias, closeness, transfer, max(spread, 0.1), lowest, len(found), shared, correlation)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's."""
    found: Any = spearmanr(one, other)
    return float(found.statistic)


def _line(x: np.ndarray, gains: np.ndarray, photos: np.ndarray) -> np.ndarray:
    root = np.sqrt(photos / photos.mean())
    return lsq_linear(x * root[:, None], gains * root, ([-np.inf, 0, 0], np.inf)).x


def _topic(expert: Expert) -> str:
    return expert.name if expert.group == "scenes" else expert.group
