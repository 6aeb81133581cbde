"""What an index holds of photos, and what it is asked: their inner product is the score.

Where all adapters do the same to photos, the backbone's shared part, a photo is indexed twice: [zero-shot ; under the shared
part], 2d numbers of unit length together. An adapter of weight w asks with [(1 - w) q ; w q'], q' being the question under it,
so that one index gives (1 - w) zero-shot + w adapted for every sentence. Elsewhere an index holds one embedding of a photo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

import torch
from torch import Tensor

from core.backbones.base import Backbone, photo_column
from core.backbones.lora import Lora
from core.data.decode_pool import DecodedPhoto
from core.retrieval.adapter import ZERO_SHOT, Adapter, finite


def width(backbone: Backbone) -> int:
    """Numbers that an index holds of a photo: d, or 2d."""
    return backbone.dim if backbone.shared is None else 2 * backbone.dim


def photo_rows(backbone: Backbone, prefixes: Tensor, adapter: Adapter = ZERO_SHOT) -> Tensor:
    """What an index holds of photos, [n, ``width``] float32 of unit length, from their prefix activations. ``adapter``: that
    the index is for; where the backbone has a shared part, it is for all of them. Raises AdapterError: the adapter turns photos
    into NaN or infinite numbers."""
    if backbone.shared is None:
        return finite(backbone.suffix(prefixes, adapter.lora))
    both = [backbone.suffix(prefixes), backbone.suffix(prefixes, backbone.shared)]
    return finite(torch.cat(both, 1)) / sqrt(2)


def encoded(backbone: Backbone, photos: Sequence[DecodedPhoto]) -> tuple[Tensor, Tensor]:
    """Prefix activations [n, *prefix_shape] of photos, and what an index holds of them, [n, ``width``]."""
    pixels = torch.frombuffer(bytearray(b"".join(photo.pixels for photo in photos)), dtype=torch.uint8)
    frames = pixels.view(len(photos), backbone.framing.height, backbone.framing.width, 3)
    prefixes = backbone.prefix(backbone.normalised(frames))
    return prefixes, photo_rows(backbone, prefixes)


def text_rows(backbone: Backbone, prefixes: Tensor, adapter: Adapter = ZERO_SHOT) -> Tensor:
    """What an index is asked for texts, [m, ``width``] float32, from their prefixes: ``photo_rows`` times these are the scores.
    Raises AdapterError: as ``asked``."""
    return asked(backbone, adapter, lambda lora: finite(backbone.text_suffix(prefixes, lora)))


def asked(backbone: Backbone, adapter: Adapter, embed: Callable[[Lora | None], Tensor]) -> Tensor:
    """What an index is asked, [..., ``width``]. ``embed``: the questions [..., d], of unit length, as a LoRA or none reads
    them. Raises AdapterError: the adapter moves photos in another way than the backbone's shared part does."""
    adapted = embed(adapter.lora) * adapter.weight
    zero_shot = embed(adapter.base) * (1 - adapter.weight) if adapter.weight < 1 else torch.zeros_like(adapted)
    if backbone.shared is None:
        return zero_shot + adapted
    if photo_column(adapter.lora, backbone.shared) == 0:
        zero_shot, adapted = zero_shot + adapted, torch.zeros_like(adapted)
    return torch.cat([zero_shot, adapted], -1) * sqrt(2)


def embeddings(backbone: Backbone, rows: Tensor, lora: Lora | None = None) -> Tensor:
    """The photos in the shared space as a LoRA or none sees them, [n, d], from what an index holds of them."""
    if backbone.shared is None:
        return rows
    return rows.unflatten(1, (2, -1))[:, photo_column(lora, backbone.shared)] * sqrt(2)
