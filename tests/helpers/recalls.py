"""The photos of a gallery by a question, and its recall, from the ranks of its captions and photos."""

from collections.abc import Iterable

import torch
from torch import Tensor

from app.languages import texts
from core.backbones.base import Backbone
from core.backbones.lora import Lora
from core.common.metrics import KS
from core.names.teach import TaughtNames
from core.retrieval.gallery import ZERO_SHOT, Adapter, Gallery, Ranking
from core.retrieval.photo_set import Where, prefixes
from core.retrieval.search import WORDS, Search
from core.sglora.engine import Adaptation


def recalls(gallery: Gallery, adapter: Adapter = ZERO_SHOT) -> dict[str, dict[str, float]]:
    """Recall in percent: {"i2t": {"R@1": …, "R@5": …, "R@10": …}, "t2i": …}."""
    found = gallery.contents.hits(adapter)
    return {way: {f"R@{k}": float((hits.ranks < k).mean() * 100) for k in KS} for way, hits in found.items()}


def ranked(gallery: Gallery, query: str, adapter: Adapter = ZERO_SHOT, top: int | None = 10) -> Ranking:
    """The photos that fit a query best; ``top``: None for all."""
    return asked(gallery, query).rank(adapter, top)


def labels_of(gallery: Gallery, query: str, made: Adaptation | None = None, top: int | None = 12) -> list[str]:
    """The names of the photos that fit a query best, with an adapter as the page applies it, or without one."""
    adapter = ZERO_SHOT if made is None else Adapter.of(made.lora, made.weight)
    return [hit.label for hit in ranked(gallery, query, adapter, top).hits]


def asked(gallery: Gallery, query: str) -> Search:
    return Search(WORDS, query, gallery.contents, None, TaughtNames(gallery.backbone), Where())


def prefixes_of(gallery: Gallery, keys: Iterable[str]) -> Tensor:
    return prefixes([gallery.contents], keys, gallery.backbone)


def mixed(
    backbone: Backbone, prefixes: Tensor, texts: list[str], lora: Lora | None, weight: float, names: TaughtNames | None = None
) -> Tensor:
    """Scores [photos, texts] by hand: cosines without and with an adapter, mixed by its weight."""
    scores = torch.zeros(len(prefixes), len(texts))
    for share, change in ((1 - weight, None), (weight, lora)):
        read = backbone.encode_text(texts, change if names is None else names.on(change))
        scores += share * backbone.suffix(prefixes, change) @ read.T
    return scores


def headline(what: str, **counts: int) -> str:
    """The words of a headline, from counts by the titles of columns."""
    return f"{what}: " + ", ".join(getattr(texts, f"COUNT_{title}").format(n=n) for title, n in counts.items())
