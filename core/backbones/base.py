"""The interface between the method and an image-text model (docs/design.md, section 3).

A LoRA adapts one side of the model, ``Backbone.adapts``: its texts, as the embedded backbone's do, or its photos, as in the
paper. An image tower is cut in two: a frozen **prefix**, computed once per photo and cached, and a **suffix** that a LoRA of
photos adapts. Where texts are adapted, the prefix is the whole tower, and the suffix adds nothing. The LoRA is an argument: no
call changes the model, so any number of threads may encode with any number of LoRAs at once. Every call takes any LoRA of the
backbone; the side that it does not adapt stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from core.backbones.lora import Lora, LoraLayout
from core.common.images import Framing


class Towers(Protocol):
    """The frozen part of an image-text model, whose outputs can be cached on disk."""

    @property
    def prefix_key(self) -> str:
        """Changes with anything that changes prefix activations."""
        ...

    @property
    def sentence_key(self) -> str:
        """Changes with anything that changes sentence embeddings."""
        ...

    @property
    def prefix_shape(self) -> tuple[int, ...]:
        """Shape of one photo's prefix activations."""
        ...

    @property
    def sentence_dim(self) -> int:
        """Width s of sentence embeddings."""
        ...

    @property
    def framing(self) -> Framing:
        """What is seen of a photo, and in which size."""
        ...

    def encode_sentence(self, texts: Sequence[str]) -> Tensor:
        """Embeddings that routing compares, [n, s], float32, unit length."""
        ...

    def normalised(self, frames: Tensor) -> Tensor:
        """Photos after ``framing``, [n, height, width, 3] uint8, as the input of ``prefix``, [n, 3, height, width] float32."""
        ...

    def pixels(self, image: Image.Image) -> Tensor:
        """One RGB photo as the input of ``prefix``, [3, height, width] float32: framed and normalised."""
        ...

    def prefix(self, pixels: Tensor) -> Tensor:
        """Prefix activations of pixels [n, 3, height, width]: [n, *prefix_shape], float16."""
        ...


Side = Literal["texts", "photos"]


class AdaptedText(nn.Module):
    """The adapted part of a text tower."""

    def forward(self, sentences: Tensor, lora: Lora | None = None) -> Tensor:
        """Sentence embeddings [n, s] to unit-length embeddings [n, d]; ``lora`` as in ``AdaptedImage``."""
        raise NotImplementedError


class AdaptedImage(nn.Module):
    """The adapted part of an image tower.

    Attributes:
        patches: how many tokens a photo has beside the class token.
    """

    patches: int

    def forward(self, prefix: Tensor, lora: Lora | None = None, keep: Tensor | None = None) -> Tensor:
        """Prefix activations [n, *prefix_shape] to unit-length embeddings [n, d].

        Args:
            lora: applied to the linears that the layout names; None is zero-shot.
            keep: indexes [t] of the patches to look at, in training; None is all of them.
        """
        raise NotImplementedError


class Backbone(Towers, Protocol):
    """What the engine needs of an image-text model.

    Tensors come and go on the CPU, whatever device the model works on.
    """

    @property
    def name(self) -> str:
        """How users choose it ("embedded", "ViT-B-16", …)."""
        ...

    @property
    def slug(self) -> str:
        """Name of the folders of what is trained for it."""
        ...

    @property
    def choice(self) -> Mapping[str, Any]:
        """The arguments of ``load_backbone`` that load it again on this machine: "spec", "pretrained", "adapt_blocks".

        ``core.backbones.spec.portable`` is for other machines.
        """
        ...

    @property
    def device(self) -> torch.device:
        """Where it works."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with any weight or with the architecture."""
        ...

    @property
    def layout(self) -> LoraLayout:
        """The adapted linears and the rank of generated LoRAs."""
        ...

    @property
    def dim(self) -> int:
        """Width d of the shared image-text space."""
        ...

    @property
    def adapts(self) -> Side:
        """What a LoRA changes: how texts are embedded, or photos."""
        ...

    @property
    def adapted(self) -> nn.Module:
        """The module that ``layout`` names linears of (for peft; in evaluation mode, never trained in place).

        An ``AdaptedText`` or an ``AdaptedImage``, as ``adapts`` says.
        """
        ...

    def to(self, device: torch.device) -> Backbone:
        """Work on a device from now on; returns the backbone itself."""
        ...

    def text_from_sentences(self, sentences: Tensor, lora: Lora | None = None) -> Tensor:
        """Texts in the shared space [n, d], float32, unit length, from their sentence embeddings [n, s] (None: zero-shot)."""
        ...

    def encode_text(self, texts: Sequence[str], lora: Lora | None = None) -> Tensor:
        """Texts in the shared space, [n, d], float32, unit length (None: zero-shot)."""
        ...

    def suffix(self, prefix: Tensor, lora: Lora | None = None) -> Tensor:
        """Photos in the shared space, [n, d], float32, unit length (None: zero-shot)."""
        ...
