"""The rows of an index: photo rows and query rows, whose inner product is the score.

If the backbone has a shared LoRA, adapters move photos by it alone, or not at all. Then a photo row is [zero-shot ; with shared
LoRA], 2d numbers of unit length together. An adapter of weight w has the query row [(1 - w) q ; w q'], where q' is the question
with the adapter. So one index gives (1 - w) zero-shot + w adapted for every sentence. Without a shared LoRA, a row is one
embedding.
"""

from collections.abc import Callable, Sequence
from math import sqrt

import torch
from torch import Tensor

from core.backbones.base import Backbone, photo_column
from core.backbones.lora import Lora
from core.retrieval.adapter import ZERO_SHOT, Adapter, finite


def width(backbone: Backbone) -> int:
    """Length of a row: d, or 2d if the backbone has a shared LoRA."""
    return backbone.dim if backbone.shared is None else 2 * backbone.dim


def photo_rows(backbone: Backbone, prefixes: Tensor, adapter: Adapter = ZERO_SHOT) -> Tensor:
    """Photo rows [n, ``width``] float32, unit length, from prefix activations. ``adapter``: ignored if the backbone has a
    shared LoRA; then the rows serve all adapters. Raises AdapterError: when numbers are NaN or infinite."""
    if backbone.shared is None:
        return finite(backbone.suffix(prefixes, adapter.lora))
    both = [backbone.suffix(prefixes), backbone.suffix(prefixes, backbone.shared)]
    return finite(torch.cat(both, 1)) / sqrt(2)


def text_rows(backbone: Backbone, prefixes: Tensor, adapter: Adapter = ZERO_SHOT, texts: Sequence[str] = ()) -> Tensor:
    """Query rows [m, ``width``] float32 of texts, from their prefixes. ``texts``: needed for the adapter's names. Raises as
    ``asked``."""
    return asked(backbone, adapter, lambda lora: text_embeddings(backbone, prefixes, lora, adapter, texts))


def text_embeddings(backbone: Backbone, prefixes: Tensor, lora: Lora | None, adapter: Adapter, texts: Sequence[str]) -> Tensor:
    """Texts [m, d] with a LoRA or None, and with the adapter's names."""
    return backbone.text_suffix(prefixes, lora) if adapter.names is None else adapter.names.embed(texts, prefixes, lora)


def asked(backbone: Backbone, adapter: Adapter, embed: Callable[[Lora | None], Tensor]) -> Tensor:
    """Query rows [..., ``width``] of questions. ``embed``: gives the questions [..., d], unit length, with a LoRA or with None.
    Raises AdapterError: when numbers are NaN or infinite, or the adapter moves photos differently from the backbone's shared
    LoRA."""
    adapted = embed(adapter.lora) * adapter.weight
    zero_shot = embed(None) * (1 - adapter.weight) if adapter.weight < 1 else torch.zeros_like(adapted)
    if backbone.shared is None:
        return finite(zero_shot + adapted)
    if photo_column(adapter.lora, backbone.shared) == 0:
        zero_shot, adapted = zero_shot + adapted, torch.zeros_like(adapted)
    return finite(torch.cat([zero_shot, adapted], -1)) * sqrt(2)


def columns(backbone: Backbone, rows: Tensor) -> tuple[Tensor, ...]:
    """The embeddings [n, d] in each column of photo rows [n, ``width``]."""
    return (rows,) if backbone.shared is None else (rows.unflatten(1, (2, -1)) * sqrt(2)).unbind(1)


def embeddings(backbone: Backbone, rows: Tensor, lora: Lora | None = None) -> Tensor:
    """Embeddings [n, d] of photos in the shared space, with a LoRA or None, from their photo rows [n, ``width``]."""
    return columns(backbone, rows)[photo_column(lora, backbone.shared)]
