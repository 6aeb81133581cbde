"""The seam between the method and an image-text model.

An image tower is cut in two: a frozen **prefix**, computed once per photo and cached, and an adapted **suffix** that
takes the prefix activations and a LoRA (or none). The LoRA is an argument: no call changes the model, so any number of
threads may encode with any number of LoRAs at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from core.backbones.lora import Lora, LoraLayout


class Towers(Protocol):
    """The frozen part of an image-text model, whose outputs can be cached on disk.

    Attributes:
        prefix_key, sentence_key: change with anything that changes prefix activations or sentence embeddings.
        prefix_shape: shape of one photo's prefix activations.
        sentence_dim: width s of sentence embeddings.
    """

    prefix_key: str
    sentence_key: str
    prefix_shape: tuple[int, ...]
    sentence_dim: int

    def encode_sentence(self, texts: Sequence[str]) -> Tensor:
        """Embeddings that routing compares, [n, s], float32, unit length."""
        ...

    def frame(self, image: Image.Image) -> Image.Image:
        """What ``pixels`` shows of an RGB photo, in its size, as a photo: where augmentation crops."""
        ...

    def pixels(self, image: Image.Image) -> Tensor:
        """One RGB photo as the input of ``prefix``, [3, side, side] float32."""
        ...

    def prefix(self, pixels: Tensor) -> Tensor:
        """Prefix activations of pixels [n, 3, side, side]: [n, *prefix_shape], float16."""
        ...


class Backbone(Towers, Protocol):
    """What the engine needs of an image-text model.

    Tensors come and go on the CPU, whatever device the model works on.

    Attributes:
        name: how users choose it ("embedded", "ViT-B-16", …).
        slug: name of the folders of what is trained for it.
        choice: the arguments of ``load_backbone`` that load it again on this machine: "spec", "pretrained", "adapt_blocks";
            ``core.backbones.spec.told`` is for others.
        fingerprint: 16 hex digits that change with any weight or with the architecture.
        layout: the adapted linears and the rank of generated LoRAs.
        dim: width d of the shared image-text space.
        adapted: the module that ``layout`` names linears of (for peft; in evaluation mode, never trained in place). Called
            with prefix activations, a LoRA or None, and the indexes of the patches to look at or None; ``patches`` is
            how many there are.
    """

    name: str
    slug: str
    choice: Mapping[str, Any]
    fingerprint: str
    layout: LoraLayout
    dim: int
    adapted: nn.Module

    def to(self, device: torch.device) -> Backbone:
        """Move the weights that training uses to a device; returns the backbone itself."""
        ...

    def text_from_sentences(self, sentences: Tensor) -> Tensor:
        """The shared space [n, d] from sentence embeddings [n, s] that are already there."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts in the shared space, [n, d], float32, unit length."""
        ...

    def suffix(self, prefix: Tensor, lora: Lora | None = None) -> Tensor:
        """Photos in the shared space, [n, d], float32, unit length, with the LoRA applied (None: zero-shot)."""
        ...
