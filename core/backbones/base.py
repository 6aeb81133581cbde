"""The seam between the method and an image-text model.

An image tower is cut in two: a frozen **prefix**, computed once per photo and cached, and an adapted **suffix** that
takes the prefix activations and a LoRA (or none). The LoRA is an argument: no call changes the model, so any number of
threads may encode with any number of LoRAs at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from PIL import Image
from torch import Tensor, nn

from core.lora import Lora, LoraLayout


class Backbone(Protocol):
    """What the engine needs of an image-text model. All tensors are on the CPU unless the backbone says otherwise.

    Attributes:
        name: how users choose it ("embedded", "ViT-B-16", …).
        fingerprint: 16 hex digits that change with any weight or with the architecture.
        layout: the adapted linears and the rank of generated LoRAs.
        dim: width d of the shared image-text space.
        sentence_dim: width s of the embeddings that route descriptions.
        prefix_shape: shape of one photo's prefix activations.
        adapted: the module that ``layout`` names linears of (for peft; in evaluation mode, never trained in place).
    """

    name: str
    fingerprint: str
    layout: LoraLayout
    dim: int
    sentence_dim: int
    prefix_shape: tuple[int, ...]
    adapted: nn.Module

    def encode_sentence(self, texts: Sequence[str]) -> Tensor:
        """Embeddings that routing compares, [n, s], float32, unit length."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts in the shared space, [n, d], float32, unit length."""
        ...

    def pixels(self, image: Image.Image) -> Tensor:
        """One RGB photo as the input of ``prefix``, [3, side, side] float32."""
        ...

    def prefix(self, pixels: Tensor) -> Tensor:
        """Prefix activations of pixels [n, 3, side, side]: [n, *prefix_shape], float16."""
        ...

    def suffix(self, prefix: Tensor, lora: Lora | None = None) -> Tensor:
        """Photos in the shared space, [n, d], float32, unit length, with the LoRA applied (None: zero-shot)."""
        ...
