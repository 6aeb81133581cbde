"""The interface between the method and an image-text model (docs/design.md, section 3).

A LoRA names the linears that it adapts, on the text tower, as the embedded backbone's do, or on the image tower, as in the
paper. Each tower is cut in two: a frozen **prefix**, computed once per photo or text, and a **suffix** that a LoRA adapts. Of
a tower that is not adapted, the prefix is the whole, and the suffix adds nothing. The LoRA is an argument: no call changes the
model, so any number of threads may encode with any number of LoRAs at once. Every call takes any LoRA of the backbone, and of
its factors those of its own tower.

What every adapter does to photos alike, the **shared part**, need not be an argument: a photo's prefix then holds its embedding
without and with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from core.backbones.lora import Lora, LoraLayout, LoraModule, Side
from core.backbones.lora_algebra import same_on_photos
from core.common.device import CPU
from core.common.errors import AdapterError
from core.common.images import Framing
from core.common.languages import TOWER_LANGUAGES


class Towers(ABC):
    """The frozen part of an image-text model, whose outputs can be cached on disk.

    Attributes:
        prefix_key, sentence_key: change with anything that changes prefix activations, or sentence embeddings.
        prefix_shape: of one photo's prefix activations. sentence_dim: width s of sentence embeddings.
        framing: what is seen of a photo, and in which size. mean, std: of what it shows, as values from 0 to 1.
        languages: that sentences may be in.
        device: where it works. Tensors come and go on the CPU, whatever device that is.
    """

    prefix_key: str
    sentence_key: str
    prefix_shape: tuple[int, ...]
    sentence_dim: int
    framing: Framing
    mean: Tensor | float
    std: Tensor | float
    languages: Collection[str] = TOWER_LANGUAGES
    device: torch.device = CPU

    def to(self, device: torch.device) -> Self:
        """Work on a device from now on; returns itself."""
        self.device = device
        return self

    @abstractmethod
    def encode_sentence(self, texts: Sequence[str]) -> Tensor:
        """Embeddings that routing compares, [n, s], float32, unit length."""

    @abstractmethod
    def prefix(self, pixels: Tensor) -> Tensor:
        """Prefix activations of pixels [n, 3, height, width]: [n, *prefix_shape], float16."""

    def normalised(self, frames: Tensor) -> Tensor:
        """Photos after ``framing``, [n, height, width, 3] uint8, as the input of ``prefix``, [n, 3, height, width] float32."""
        return frames.permute(0, 3, 1, 2).float().div_(255).sub_(self.mean).div_(self.std)

    def pixels(self, image: Image.Image) -> Tensor:
        """One RGB photo as the input of ``prefix``, [3, height, width] float32: framed and normalised."""
        return self.normalised(torch.from_numpy(np.array(self.framing(image)))[None])[0]


class TwoTowers(nn.Module):
    """What a LoRA can adapt of a model, in two parts; names of linears begin with the part's.

    Attributes:
        text: ``text(prefix, lora=None)``, text prefixes of a backbone that adapts texts to unit-length embeddings [n, d]; where
            names can be taught, ``last`` names its last linear, and ``unnormalised`` is what goes into that and comes out.
        vision: ``vision(prefix, lora=None, keep=None)``, prefix activations [n, *prefix_shape] to unit-length embeddings
            [n, d]. ``keep`` holds the indexes [t] of the patches to look at, in training; None is all of them.
        patches: how many tokens a photo has beside the class token.
    """

    def __init__(self, text: nn.Module, vision: nn.Module, patches: int) -> None:
        super().__init__()
        self.text, self.vision, self.patches = text, vision, patches

    def linears(self, *below: str) -> dict[str, LoraModule]:
        """All linears whose names begin like one of these, by name."""
        return {
            name: LoraModule(name, linear.in_features, linear.out_features)
            for name, linear in self.named_modules()
            if isinstance(linear, nn.Linear) and name.startswith(below)
        }


class Backbone(Towers):
    """What the engine needs of an image-text model.

    Attributes:
        name: how users choose it ("embedded", "ViT-B-16", …). slug: name of the folders of what is trained for it.
        choice: the arguments of ``load_backbone`` that load it again on this machine: "spec", "pretrained", "adapt_blocks", and
            "adapt" where that is not the default. ``core.backbones.spec.portable`` is for other machines.
        fingerprint: 16 hex digits that change with any weight or with the architecture.
        linears: all that a LoRA can adapt, by name.
        layout: those of them that LoRAs adapt, unless an expert repository names others, and the rank of generated LoRAs.
        shared: what every adapter does to photos alike, and to texts beside its own part; a prefix holds both embeddings of a
            photo then, [2, d]. None: photos are embedded again for an adapter that moves them.
        dim: width d of the shared image-text space.
        adapted: the module whose linears ``linears`` and ``layout`` name (for peft; in evaluation mode, never trained).
        text_key: changes with anything that changes text prefixes; ``sentence_key`` where these are made of sentence
            embeddings.
        words: of all texts that trained it (``core.backbones.trained_words``); none where that is not known.
    """

    name: str
    slug: str
    choice: Mapping[str, Any]
    fingerprint: str
    linears: Mapping[str, LoraModule]
    layout: LoraLayout
    shared: Lora | None = None
    dim: int
    adapted: TwoTowers
    text_key: str
    words: frozenset[str] = frozenset()

    @abstractmethod
    def text_prefix(self, texts: Sequence[str]) -> Tensor:
        """What is computed of texts once, [n, …]: sentence embeddings, or the token ids of a text tower that is adapted."""

    @abstractmethod
    def text_suffix(self, prefix: Tensor, lora: Lora | None = None) -> Tensor:
        """Texts in the shared space [n, d], float32, unit length, from their prefixes (None: zero-shot). Raises AdapterError:
        the LoRA moves texts, and the prefix is past the linears that it adapts."""

    @abstractmethod
    def suffix(self, prefix: Tensor, lora: Lora | None = None) -> Tensor:
        """Photos in the shared space, as ``text_suffix`` has texts; it raises where the LoRA moves photos."""

    def encode_text(self, texts: Sequence[str], lora: Lora | None = None) -> Tensor:
        """Texts in the shared space, [n, d]; raises as ``text_suffix``."""
        return self.text_suffix(self.text_prefix(texts), lora)

    def there(self, lora: Lora | None) -> Lora | None:
        """A LoRA on the device."""
        return None if lora is None else lora.to(self.device)


def last_text_linear(backbone: Backbone) -> LoraModule:
    """The last linear of the text side; AdapterError where no LoRA can adapt it."""
    module = backbone.linears.get(getattr(backbone.adapted.text, "last", None) or "")
    if module is None:
        raise AdapterError(
            f"Names cannot be taught to {backbone.name} as it is: no LoRA adapts the last linear of its texts. Choose the "
            "backbone with --adapt texts; a text tower without a projection cannot be taught."
        )
    return module


@torch.no_grad()
def last_linear(backbone: Backbone, prefix: Tensor, lora: Lora | None = None) -> tuple[Tensor, Tensor]:
    """What goes into ``last_text_linear`` for text prefixes [n, …], [n, in], and the texts before they are normalised, [n, d],
    both float32 on the CPU, with a LoRA applied; raises as ``last_text_linear``."""
    last_text_linear(backbone)
    unnormalised: Any = backbone.adapted.text.unnormalised
    inputs, outputs = unnormalised(prefix.to(backbone.device), backbone.there(lora))
    return inputs.float().cpu(), outputs.float().cpu()


def finished(embeddings: Tensor, lora: Lora | None, side: Side) -> Tensor:
    """A suffix that adds nothing: embeddings [n, d] as they were kept, in float32; AdapterError where the LoRA adapts them."""
    if lora is not None and (lora.moves_photos if side == "photos" else lora.moves_texts):
        raise AdapterError(
            f"This adapter changes {side}, and this backbone does not: start it with --adapt {side}, or choose experts that "
            f"adapt {side}."
        )
    return F.normalize(embeddings.float(), dim=-1)


def photo_column(lora: Lora | None, shared: Lora) -> int:
    """Which of a photo's two embeddings a LoRA sees: 0, zero-shot, where it leaves photos as they are; 1 where it changes them
    as the shared part does; AdapterError where it changes them otherwise."""
    if lora is None or not lora.moves_photos:
        return 0
    if not same_on_photos(lora, shared):
        raise AdapterError(
            "This adapter changes photos in another way than this backbone's shared part: choose the backbone that it was made "
            "with, or --adapt photos with experts that adapt photos."
        )
    return 1
