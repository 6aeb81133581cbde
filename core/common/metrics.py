"""Retrieval metrics: recall@k in both directions, mean average precision, and bootstrap intervals."""

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
    """Which texts belong to which photos."""

    texts: tuple[str, ...]  # different ones
    matrix: np.ndarray  # [n photos, m texts], True where the text is one of the photo's captions

    @staticmethod
    def of(captions: Sequence[Sequence[str]]) -> Relevance:
        """From the captions of each photo, in order."""
        index = {text: i for i, text in enumerate(dict.fromkeys(text for texts in captions for text in texts))}
        matrix = np.zeros((len(captions), len(index)), dtype=bool)
        for row, texts in enumerate(captions):
            matrix[row, [index[text] for text in texts]] = True
        return Relevance(tuple(index), matrix)


def first_hits(similarity: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Rank (0 = best) of each row's best-ranked relevant column, of scores and bools [rows, columns]; n columns where a row has
    none.

    A column that ties with the hit counts as ranked before it, so that a model that cannot tell photos apart scores nothing.
    """
    best = np.where(relevant, similarity, -np.inf).max(1)
    better = ((similarity >= best[:, None]) & ~relevant).sum(1)
    return np.where(relevant.any(1), better, similarity.shape[1])


def recall(similarity: np.ndarray, relevant: np.ndarray, ks: Sequence[int] = KS) -> dict[str, float]:
    """Share of rows, in percent, with a relevant column among the first k: {"R@1": …, "R@5": …, "R@10": …}."""
    hits = first_hits(similarity, relevant)[relevant.any(1)]
    return {f"R@{k}": float((hits < k).mean() * 100) if len(hits) else 0.0 for k in ks}


def _ways(images: Tensor, texts: Tensor, relevance: Relevance) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores, and what is relevant, image-to-text and text-to-image, of embeddings [n, d] and [m, d] of unit length."""
    similarity = (images @ texts.T).numpy()
    return {"i2t": (similarity, relevance.matrix), "t2i": (similarity.T, relevance.matrix.T)}


def both_directions(images: Tensor, texts: Tensor, relevance: Relevance) -> dict[str, dict[str, float]]:
    """Recalls image-to-text and text-to-image of embeddings [n, d] and [m, d] of unit length."""
    return {way: recall(*pair) for way, pair in _ways(images, texts, relevance).items()}


def measure(images: Tensor, texts: Tensor, relevance: Relevance) -> dict[str, Any]:
    """Recalls and mean average precision both ways: {"i2t": {"R@1": …, …, "mAP": …}, "t2i": {…}, "images": n photos}.

    Where photos share captions, as labelled ones do, recall counts any right answer; mAP asks for all of them.
    """
    ways = _ways(images, texts, relevance).items()
    found = {way: {**recall(*pair), "mAP": mean_average_precision(*pair)} for way, pair in ways}
    return {**found, "images": len(relevance.matrix)}


def mean_of_ways(recalls: Mapping[str, Any], measure: str) -> float:
    """Mean of both directions of one measure, such as "R@1", of recalls as ``both_directions`` and ``measure`` give them."""
    return (recalls["i2t"][measure] + recalls["t2i"][measure]) / 2


@dataclass(frozen=True)
class Hits:
    """How the right answers of questions rank, which are photos (i2t) or captions (t2i)."""

    places: np.ndarray  # [q], of the best right answer of each; 0 is the first
    photos: np.ndarray  # [q], the row of the photo that the question belongs to (a caption of several: the first of them)
    total: int  # number of photos


def hits(images: Tensor, texts: Tensor, relevance: Relevance) -> dict[str, Hits]:
    """Both directions, {"i2t": …, "t2i": …}, of embeddings [n, d] and [m, d] of unit length."""
    n = len(relevance.matrix)
    photos = {"i2t": np.arange(n), "t2i": relevance.matrix.argmax(0)}
    return {way: Hits(first_hits(*pair), photos[way], n) for way, pair in _ways(images, texts, relevance).items()}


def recall_interval(adapter_hits: Hits, k: int, minus: Hits | None = None) -> tuple[float, float, float]:
    """R@k in percent of an adapter with its 95 % percentile bootstrap interval: (mean, low, high); with the hits of another one
    for the same questions to subtract, of the paired difference.

    Photos are drawn again, each with all of its captions, since the captions of one photo are no independent evidence.
    """
    scores = (adapter_hits.places < k).astype(float) - (0.0 if minus is None else minus.places < k)
    # In the draws' type: otherwise numpy would convert all of them each time.
    sums = np.bincount(adapter_hits.photos, scores, adapter_hits.total).astype(np.float32)
    sizes = np.bincount(adapter_hits.photos, minlength=adapter_hits.total).astype(np.float32)
    drawn = _resamples(adapter_hits.total)
    questions = drawn @ sizes
    some = questions > 0  # where captions are shared, a draw may miss every photo that has questions
    means = (drawn[some] @ sums) / questions[some]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(scores.mean() * 100), float(low * 100), float(high * 100)


@lru_cache(maxsize=4)
def _resamples(n: int, draws: int = 2_000, seed: int = 0) -> np.ndarray:
    """How often each of n photos is in each bootstrap draw, [draws, n]; kept, because a slider asks for it again and again."""
    picks = np.random.default_rng(seed).integers(0, n, (draws, n)) + np.arange(draws)[:, None] * n
    return np.bincount(picks.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float32)


def mean_average_precision(similarity: np.ndarray, relevant: np.ndarray) -> float:
    """Mean over rows of the average precision, in percent; rows without a relevant column are left out."""
    rows = relevant.any(1)
    order = np.argsort(-similarity[rows], axis=1, kind="stable")
    sorted_relevant = np.take_along_axis(relevant[rows], order, 1)
    precision = sorted_relevant.cumsum(1) / np.arange(1, relevant.shape[1] + 1)
    average = (precision * sorted_relevant).sum(1) / sorted_relevant.sum(1)
    return float(average.mean() * 100) if len(average) else 0.0


def bootstrap_interval(values: Sequence[float], seed: int = 0, draws: int = 10_000) -> tuple[float, float, float]:
    """Mean of the values and its 95 % percentile bootstrap interval: (mean, low, high)."""
    array = np.asarray(values, dtype=float)
    picks = np.random.default_rng(seed).integers(0, len(array), (draws, len(array)))
    means = array[picks].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(array.mean()), float(low), float(high)
