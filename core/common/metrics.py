"""Retrieval metrics: recall@k in both directions, and bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

KS = (1, 5, 10)


@dataclass(frozen=True)
class Relevance:
    """The texts that belong to each photo."""

    texts: tuple[str, ...]  # without duplicates
    matrix: np.ndarray  # [n photos, m texts], True where the text is one of the photo's captions

    @staticmethod
    def of(captions: Sequence[Sequence[str]]) -> Relevance:
        """Build it from the captions of each photo, in order."""
        index = {text: i for i, text in enumerate(dict.fromkeys(text for texts in captions for text in texts))}
        matrix = np.zeros((len(captions), len(index)), dtype=bool)
        for row, texts in enumerate(captions):
            matrix[row, [index[text] for text in texts]] = True
        return Relevance(tuple(index), matrix)


def first_hits(similarity: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Rank (0 = best) of each row's best relevant column, from scores and bools [rows, columns].

    A row without a relevant column gets the number of columns. A tie counts as ranked before the hit, so that a model that
    cannot tell photos apart scores 0.
    """
    best = np.where(relevant, similarity, -np.inf).max(1)
    better = ((similarity >= best[:, None]) & ~relevant).sum(1)
    return np.where(relevant.any(1), better, similarity.shape[1])


def recall(similarity: np.ndarray, relevant: np.ndarray, ks: Sequence[int] = KS) -> dict[str, float]:
    """Percentage of rows with a relevant column among the first k: {"R@1": …, "R@5": …, "R@10": …}."""
    hits = first_hits(similarity, relevant)[relevant.any(1)]
    return {f"R@{k}": float((hits < k).mean() * 100) if len(hits) else 0.0 for k in ks}


def _ways(images: Tensor, texts: Tensor, relevance: Relevance) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores and relevance, image-to-text and text-to-image, of unit-length embeddings [n, d] and [m, d]."""
    similarity = (images @ texts.T).numpy()
    return {"i2t": (similarity, relevance.matrix), "t2i": (similarity.T, relevance.matrix.T)}


def both_directions(images: Tensor, texts: Tensor, relevance: Relevance) -> dict[str, dict[str, float]]:
    """Recalls image-to-text and text-to-image of unit-length embeddings [n, d] and [m, d]."""
    return {way: recall(*pair) for way, pair in _ways(images, texts, relevance).items()}


def measure(images: Tensor, texts: Tensor, relevance: Relevance) -> dict[str, Any]:
    """Recalls in both directions, and the number of photos: {"i2t": {"R@1": …, …}, "t2i": {…}, "images": n}."""
    return {**both_directions(images, texts, relevance), "images": len(relevance.matrix)}


def mean_of_ways(recalls: Mapping[str, Any], measure: str) -> float:
    """Mean over both directions of one measure, such as "R@1", from the result of ``both_directions`` or ``measure``."""
    return (recalls["i2t"][measure] + recalls["t2i"][measure]) / 2


@dataclass(frozen=True)
class Hits:
    """Ranks of the right answers to questions. A question is a photo (i2t) or a caption (t2i)."""

    ranks: np.ndarray  # [q], rank of each question's best right answer; 0 is the first
    photos: np.ndarray  # [q], row of the question's photo (for a caption of several photos, the first one)
    total: int  # number of photos


def hits(images: Tensor, texts: Tensor, relevance: Relevance) -> dict[str, Hits]:
    """Hits in both directions, {"i2t": …, "t2i": …}, of unit-length embeddings [n, d] and [m, d]."""
    n = len(relevance.matrix)
    photos = {"i2t": np.arange(n), "t2i": relevance.matrix.argmax(0)}
    return {way: Hits(first_hits(*pair), photos[way], n) for way, pair in _ways(images, texts, relevance).items()}


def recall_interval(adapter_hits: Hits, k: int, minus: Hits | None = None) -> tuple[float, float, float]:
    """R@k in percent with its 95 % percentile bootstrap interval: (mean, low, high).

    ``minus`` holds another adapter's hits for the same questions: then the result is for the paired difference. Photos are
    resampled with all their captions, since captions of one photo are not independent evidence.
    """
    scores = (adapter_hits.ranks < k).astype(float) - (0.0 if minus is None else minus.ranks < k)
    # float32 like the draws: otherwise numpy would convert all draws in each product.
    sums = np.bincount(adapter_hits.photos, scores, adapter_hits.total).astype(np.float32)
    sizes = np.bincount(adapter_hits.photos, minlength=adapter_hits.total).astype(np.float32)
    drawn = _resamples(adapter_hits.total)
    questions = drawn @ sizes
    some = questions > 0  # if captions are shared, a draw may miss every photo that has questions
    means = (drawn[some] @ sums) / questions[some]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(scores.mean() * 100), float(low * 100), float(high * 100)


@lru_cache(maxsize=4)
def _resamples(n: int) -> np.ndarray:
    """How often each bootstrap draw has each of n photos, [draws, n]. Cached, because a slider asks for it again and again."""
    draws = 2_000
    picks = np.random.default_rng(0).integers(0, n, (draws, n)) + np.arange(draws)[:, None] * n
    return np.bincount(picks.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float32)


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of the values and its 95 % percentile bootstrap interval: (mean, low, high)."""
    array = np.asarray(values, dtype=float)
    picks = np.random.default_rng(0).integers(0, len(array), (10_000, len(array)))
    means = array[picks].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(array.mean()), float(low), float(high)
