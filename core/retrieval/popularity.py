"""Popularity of texts: how well a text fits all photos of a gallery (inverted softmax, arXiv 1702.03859).

A text that fits every photo a little is the wrong answer for most of them. So its popularity is subtracted before texts are
ranked for a photo. Ranking photos for one text needs no such step: the same number would be subtracted for all photos.
"""

import numpy as np
import torch
from torch import Tensor

BETA = 20.0
FEWEST_PHOTOS = 2  # with one photo, each text's popularity would equal its score
MOST_PHOTOS = 1_000  # a larger gallery is sampled at evenly spread rows
TEXTS_AT_ONCE = 1_024


def popularity(photos: Tensor, texts: Tensor) -> Tensor:
    """The number to subtract from each text's scores, [m]: 1/beta log sum over photos of exp(beta score). 0 for one photo.
    ``photos``: [n, w], at most ``MOST_PHOTOS`` of a gallery, see ``spread_rows``. ``texts``: [m, w]."""
    if len(photos) < FEWEST_PHOTOS or not len(texts):
        return torch.zeros(len(texts))
    return torch.cat([torch.logsumexp(BETA * part @ photos.T, 1) / BETA for part in texts.split(TEXTS_AT_ONCE)])


def spread_rows(count: int, most: int = MOST_PHOTOS) -> np.ndarray:
    """At most ``most`` of ``count`` rows, evenly spread: not random, so that equal photos give equal results."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def with_popularity(photos: Tensor, texts: Tensor, popular: Tensor) -> tuple[Tensor, Tensor]:
    """Photos [n, w + 1] and texts [m, w + 1] whose inner products are the scores minus the texts' popularity [m]."""
    return torch.cat([photos, torch.ones(len(photos), 1)], 1), torch.cat([texts, -popular[:, None]], 1)
