"""The photos that an expert is measured on: of its topic, and such that trained nothing."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from core.sglora.repository import Expert
from core.training.corpus import Corpus

PHOTOS = 256
FEWEST = 8  # photos of a topic that is measured


def photos_like(corpus: Corpus, expert: Expert, key: Tensor, most: int = PHOTOS) -> np.ndarray:
    """Rows of watched photos of an expert's topic: of its classes, or the captioned ones closest to its description, as large a
    share of them as the expert trained on.

    Args:
        key: [s] the expert's embedding.
    """
    if expert.classes:
        known = set(expert.classes)
        rows = [r for r in np.flatnonzero(corpus.watched & ~corpus.captioned) if corpus.samples[r].label in known]
        rows = np.array([r for r in rows if corpus.samples[r].domain == expert.group], dtype=np.int64)
    else:
        alike = corpus.captioned & (corpus.domains == ("" if expert.group == "scenes" else expert.group))
        pool = np.flatnonzero(corpus.watched & alike)
        share = expert.images / max(int((corpus.train & alike).sum()), 1)
        closest = np.argsort(-(corpus.photo_sentences[pool] @ key.numpy()))
        rows = np.sort(pool[closest[: max(FEWEST, round(share * len(pool)))]])
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(int)]
