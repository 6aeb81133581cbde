"""Proposals for photos without a keyword: the name that fits a photo best, and how often such proposals are right.

Names have scores of different heights. So a score counts from the name's mean over the searched photos, in its standard
deviations. The photos of the names, each left out once, say how often the best name is right from a height on.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from core.names.teach import TaughtNames
from core.retrieval.adapter import Adapter
from core.retrieval.columns import photo_rows
from core.retrieval.name_scores import FOLDS, name_scores, without_fold
from core.retrieval.photo_set import PhotoSet
from core.retrieval.popularity import spread_rows

SAMPLE, AT_ONCE = 5_000, 20_000  # photos for a name's mean; photos that are scored together


class Proposal(NamedTuple):
    """A name for the photo in a ``row``. ``right``: the share of right ones, 0 to 1, among left-out photos at least as sure."""

    row: int
    name: str
    right: float


def proposals(photos: PhotoSet, names: TaughtNames, adapter: Adapter, tagged: Collection[int] = ()) -> list[Proposal]:
    """The best name of each photo but the ``tagged`` rows, surest first. ``adapter``: without names. Empty if no name has two
    photos: then nothing says how often it is right."""
    backbone, index = photos.backbone, photos.index_for(adapter)
    entries = tuple(entry for entry in names.entries if entry.without is None)
    words, named = [entry.name for entry in entries], adapter.with_names(replace(names, entries=entries))
    sample = name_scores(backbone, words, named, index.take(spread_rows(len(index), SAMPLE)))
    mean, spread = sample.mean(1, keepdims=True), sample.std(1, keepdims=True) + 1e-6
    heights, right = list[np.ndarray](), list[np.ndarray]()
    for fold in range(FOLDS):
        kept = replace(names, entries=tuple(without_fold(entry, fold) for entry in entries))
        out = [(i, entry.photos[fold::FOLDS]) for i, entry in enumerate(entries) if len(entry.photos) > 1]
        if not any(len(own) for _, own in out):
            continue
        rows = photo_rows(backbone, torch.cat([own for _, own in out]), adapter)
        above = (name_scores(backbone, words, adapter.with_names(kept), rows) - mean) / spread
        heights.append(above.max(0))
        right.append(above.argmax(0) == np.repeat([i for i, _ in out], [len(own) for _, own in out]))
    if not heights:
        return []
    order = np.argsort(-np.concatenate(heights), kind="stable")
    known, shares = np.concatenate(heights)[order], np.cumsum(np.concatenate(right)[order]) / np.arange(1, len(order) + 1)
    shares = np.maximum.accumulate(shares[::-1])[::-1]  # the surer, the more often right
    found, rows_left = list[Proposal](), np.setdiff1d(np.arange(len(photos)), np.array(sorted(tagged), dtype=int))
    for start in range(0, len(rows_left), AT_ONCE):
        part = rows_left[start : start + AT_ONCE]
        above = (name_scores(backbone, words, named, index.take(part)) - mean) / spread
        places = np.searchsorted(-known, -above.max(0), side="right") - 1  # the last left-out photo that is at least as sure
        found += [
            Proposal(int(row), words[best], float(shares[max(place, 0)]))
            for row, best, place in zip(part, above.argmax(0), places, strict=True)
        ]
    return sorted(found, key=lambda proposal: -proposal.right)
