"""Proposals for photos without a keyword: the name that fits a photo best, and how often such proposals are right.

Names have scores of different heights. So a score counts from the name's mean over the photos without a keyword, in its
standard deviations. The photos of the names, each left out once, say how often the best name is right from a height on, and how
many photos show none of the names.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.names.teach import TaughtNames
from core.retrieval.adapter import Adapter
from core.retrieval.columns import photo_rows
from core.retrieval.name_scores import FOLDS, name_scores, without_fold
from core.retrieval.photo_set import PhotoSet
from core.retrieval.popularity import spread_rows

# Others are counted at these heights of left-out photos, or somewhat lower: from fewer photos, a name has other heights.
QUANTILES, SLACK = np.array([0, 0.25, 0.5, 0.75]), 0.1
SAMPLE, AT_ONCE = 5_000, 20_000  # photos for a name's mean; photos that are scored together


class Proposal(NamedTuple):
    """A name for the photo in a ``row``. ``right``: the share of right ones, 0 to 1, among proposals at least as sure."""

    row: int
    name: str
    right: float


class Heights(NamedTuple):
    """Left-out photos [m]: their name, its height, that of their best name, and whether the best one is right."""

    name: np.ndarray
    own: np.ndarray
    top: np.ndarray
    right: np.ndarray


def proposals(photos: PhotoSet, names: TaughtNames, adapter: Adapter, tagged: Collection[int] = ()) -> list[Proposal]:
    """The best name of each photo but the ``tagged`` rows, surest first. ``adapter``: without names. Empty if no name has two
    photos: then nothing says how often it is right."""
    backbone, index = photos.backbone, photos.index_for(adapter)
    entries = tuple(entry for entry in names.entries if entry.without is None)
    rows_left = np.setdiff1d(np.arange(len(photos)), np.array(sorted(tagged), dtype=int))
    if not entries or not len(rows_left):
        return []
    words, named = [entry.name for entry in entries], adapter.with_names(replace(names, entries=entries))
    sample = index.take(rows_left[spread_rows(len(rows_left), SAMPLE)])

    def above_mean(adapter: Adapter, rows: Tensor) -> np.ndarray:
        """[names, photos]; the mean is over the sample."""
        scores = name_scores(backbone, words, adapter, torch.cat([sample, rows]))
        first = scores[:, : len(sample)]
        return (scores[:, len(sample) :] - first.mean(1, keepdims=True)) / (first.std(1, keepdims=True) + 1e-6)

    known = list[Heights]()
    for fold in range(FOLDS):
        kept = replace(names, entries=tuple(without_fold(entry, fold) for entry in entries))
        out = [(i, entry.photos[fold::FOLDS]) for i, entry in enumerate(entries) if len(entry.photos) > 1]
        if not any(len(own) for _, own in out):
            continue
        rows, owner = torch.cat([own for _, own in out]), np.repeat([i for i, _ in out], [len(own) for _, own in out])
        above = above_mean(adapter.with_names(kept), photo_rows(backbone, rows, adapter))
        known.append(Heights(owner, above[owner, np.arange(len(owner))], above.max(0), above.argmax(0) == owner))
    if not known:
        return []
    best, heights = list[np.ndarray](), list[np.ndarray]()
    for start in range(0, len(rows_left), AT_ONCE):
        above = above_mean(named, index.take(rows_left[start : start + AT_ONCE]))
        best.append(above.argmax(0))
        heights.append(above.max(0))
    name, height = np.concatenate(best), np.concatenate(heights)
    right = rights(name, height, Heights(*map(np.concatenate, zip(*known, strict=True))))
    return [Proposal(int(rows_left[i]), words[name[i]], float(right[i])) for i in np.lexsort((-height, -right))]


def rights(best: np.ndarray, heights: np.ndarray, known: Heights) -> np.ndarray:
    """The share of right proposals [n] among those of the same name that are at least as high. ``best``, ``heights`` [n]: the
    best name of each photo, and its height.

    Not all photos show a name. If n photos show this one, then above a height there are at least as many as n times the share
    of left-out photos above it. So n is the largest for which this holds at some heights (a bound of the class prior,
    arXiv 1811.04820).
    """
    order = np.argsort(-known.top, kind="stable")
    so_far = np.cumsum(known.right[order]) / np.arange(1, len(order) + 1)
    so_far = np.maximum.accumulate(so_far[::-1])[::-1]  # the surer, the more often right
    found = np.zeros(len(heights))
    for name in np.intersect1d(best, known.name):
        rows, own = np.flatnonzero(best == name), np.sort(known.own[known.name == name])
        rows = rows[np.argsort(-heights[rows], kind="stable")]
        levels = np.quantile(own, QUANTILES) - SLACK * max(0, np.median(own))
        show = (_at_least(-heights[rows], levels) / (1 - QUANTILES)).min()
        expected = show * _at_least(-own[::-1], heights[rows]).clip(1) / len(own)  # of the photos that show the name
        share = so_far[_at_least(-known.top[order], heights[rows]).clip(1) - 1]
        share = share * (expected / np.arange(1, len(rows) + 1)).clip(max=1)
        found[rows] = np.maximum.accumulate(share[::-1])[::-1]
    return found


def _at_least(negative: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """How many of the heights, given ``negative`` in ascending order, are at least as high as each of the others."""
    return np.searchsorted(negative, -heights, side="right")
