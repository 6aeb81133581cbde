"""How well a taught name finds its own photos: the score of each of them, with the name taught from the others."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from core.names.teach import TaughtName, TaughtNames
from core.retrieval.adapter import Adapter
from core.retrieval.columns import photo_rows
from core.retrieval.questions import Query


def scores_left_out(names: TaughtNames, entry: TaughtName, adapter: Adapter, wrong: bool = False) -> list[float]:
    """Leave-one-out scores: of each photo of a name, with the name taught from the others. [] for a single photo. ``adapter``:
    without names. ``wrong``: scores of the crossed photos of a marked question."""
    photos = entry.photos if not wrong else entry.without
    if photos is None or (len(photos) < 2 and not wrong):
        return []
    scores = []
    for i in range(len(photos)):
        others = torch.cat([photos[:i], photos[i + 1 :]])
        without_it = replace(entry, without=others) if wrong else replace(entry, photos=others)
        taught = replace(names, entries=tuple(without_it if each is entry else each for each in names.entries))
        named = adapter.with_names(taught)
        query = Query((entry.name,)).question(names.backbone).row(names.backbone, named)
        scores.append(float(photo_rows(names.backbone, photos[i : i + 1], named)[0] @ query))
    return scores


def proposed_cut(own: Sequence[float]) -> float | None:
    """A threshold for a name's photos: midway from the mean to the lowest of ``scores_left_out``. None without scores."""
    return (sum(own) / len(own) + min(own)) / 2 if own else None
