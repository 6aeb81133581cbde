"""The recall of a gallery, from the ranks of its captions and photos."""

from __future__ import annotations

from core.common.metrics import KS
from core.retrieval.gallery import ZERO_SHOT, Adapter, Gallery


def recalls(gallery: Gallery, adapter: Adapter = ZERO_SHOT) -> dict[str, dict[str, float]]:
    """Recall in percent: {"i2t": {"R@1": …, "R@5": …, "R@10": …}, "t2i": …}."""
    found = gallery.hits(adapter)
    return {way: {f"R@{k}": float((hits.ranks < k).mean() * 100) for k in KS} for way, hits in found.items()}
