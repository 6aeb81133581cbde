"""Scores of photos for many names, and of the names' own photos, with all names taught without them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.backbones.base import Backbone
from core.common.progress import Progress
from core.names.teach import TaughtName, TaughtNames
from core.retrieval.adapter import Adapter
from core.retrieval.columns import photo_rows, text_rows
from core.retrieval.questions import Query

AT_ONCE = 64  # names
FOLDS = 3  # all names are taught so many times, each time without so large a part of their photos


def name_scores(
    backbone: Backbone, names: Sequence[str], adapter: Adapter, index: Tensor, progress: Progress | None = None
) -> np.ndarray:
    """The scores [keywords, photos] of the photos in index rows [n, w] for each name."""
    parts = []
    for start in range(0, len(names), AT_ONCE):
        texts = names[start : start + AT_ONCE]
        parts.append(text_rows(backbone, backbone.text_prefix(texts), adapter, texts) @ index.T)
        if progress is not None:
            progress(start + len(texts), len(names))
    return torch.cat(parts).numpy()


class LeftOut(NamedTuple):
    """Scores of a name's photos, and of the crossed photos of a marked question."""

    own: list[float]
    wrong: list[float]


def scores_left_out(names: TaughtNames, adapter: Adapter) -> dict[str, LeftOut]:
    """The scores of the photos of each name, each left out once. A name's only photo has none. ``adapter``: without names."""
    backbone, scores = names.backbone, {entry.name: LeftOut([], []) for entry in names.entries}
    for fold in range(FOLDS):
        named = adapter.with_names(replace(names, entries=tuple(without_fold(entry, fold) for entry in names.entries)))
        for entry in names.entries:
            own = entry.photos[fold::FOLDS] if len(entry.photos) > 1 else entry.photos[:0]
            wrong = own[:0] if entry.without is None else entry.without[fold::FOLDS]
            if len(own) or len(wrong):
                query = Query((entry.name,)).question(backbone).row(backbone, named)
                for kept, part in zip(scores[entry.name], (own, wrong), strict=True):
                    kept += (photo_rows(backbone, part, named) @ query).tolist() if len(part) else []
    return scores


def without_fold(entry: TaughtName, fold: int) -> TaughtName:
    """A name without one of FOLDS parts of its photos. A single photo stays."""
    photos = _outside(entry.photos, fold) if len(entry.photos) > 1 else entry.photos
    return replace(entry, photos=photos, without=None if entry.without is None else _outside(entry.without, fold))


def _outside(photos: Tensor, fold: int) -> Tensor:
    return photos[torch.arange(len(photos)) % FOLDS != fold]


def proposed_cut(own: Sequence[float]) -> float | None:
    """A threshold for a name's photos: midway from the mean to the lowest of ``scores_left_out``. None without scores."""
    return (sum(own) / len(own) + min(own)) / 2 if own else None
