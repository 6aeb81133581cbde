"""The interface between the method and an image-text model (docs/design.md, section 3).

A LoRA adapts linears of the text tower, as in the embedded backbone, or of the image tower, as in the paper. Each tower has two
parts: a frozen **prefix**, computed once per photo or text, and a **suffix** that a LoRA adapts. If no LoRA adapts a tower, its
prefix is the whole tower, and its suffix adds nothing.

The LoRA is an argument, and no call changes the model. So any number of threads may encode with any LoRAs at once. Every call
takes any LoRA of the backbone, and uses only the factors of its own tower.

The **shared LoRA** is the change to photos that all adapters have in common. With one, a photo's prefix holds two embeddings:
without it and with it.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from core.backbones.lora import VISION, Lora, LoraLayout, LoraModule
from core.backbones.spec import Side
from core.common.device import CPU
from core.common.errors import AdapterError
from core.common.images import Framing
from core.common.languages import TOWER_LANGUAGES
from core.common.runtime import one_core


class Towers(ABC):
    """The frozen part of an image-text model. Its outputs can be cached on disk.

    Attributes:
        prefix_key, sentence_key: change with anything that changes prefix activations, or sentence embeddings.
        prefix_shape: shape of one photo's prefix activations. sentence_dim: width s of sentence embeddings.
        framing: crops and scales photos. mean, std: normalise pixel values from 0 to 1.
        languages: the languages that it knows.
        device: the device that computes. Arguments and results are on the CPU.
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
        """Move the model to a device; returns itself."""
        self.device = device
        return self

    @abstractmethod
    def encode_sentence(self, texts: Sequence[str]) -> Tensor:
        """The embeddings for routing, [n, s], float32, unit length."""

    @abstractmethod
    def prefix(self, pixels: Tensor) -> Tensor:
        """Prefix activations of pixels [n, 3, height, width]: [n, *prefix_shape], float16."""

    def normalised(self, frames: Tensor) -> Tensor:
        """Turn framed photos, [n, height, width, 3] uint8, into the input of ``prefix``, [n, 3, height, width] float32."""
        with one_core():  # torch's threads would wait, busily, for the next batch
            return frames.permute(0, 3, 1, 2).float().div_(255).sub_(self.mean).div_(self.std)

    def pixels(self, image: Image.Image) -> Tensor:
        """Frame and normalise one RGB photo for ``prefix``: [3, height, width] float32."""
        return self.normalised(torch.from_numpy(np.array(self.framing(image)))[None])[0]


class TwoTowers(nn.Module):
    """The two parts of a model that a LoRA can adapt. Names of linears start with "text." or "vision.".

    Attributes:
        text: ``text(prefix, lora=None)``, from text prefixes of a backbone that adapts texts to unit-length embeddings [n, d].
            If names can be taught, ``last`` names the last linear. ``unnormalised`` returns its input, and the texts before
            they are normalised.
        vision: ``vision(prefix, lora=None, keep=None)``, from prefix activations [n, *prefix_shape] to unit-length embeddings
            [n, d]. ``keep``: indexes [t] of the patches to use, in training; None: all.
        patches: number of a photo's tokens without the class token.
    """

    def __init__(self, text: nn.Module, vision: nn.Module, patches: int) -> None:
        super().__init__()
        self.text, self.vision, self.patches = text, vision, patches

    def linears(self, *starts: str) -> dict[str, LoraModule]:
        """All linears whose names start with one of these strings, by name."""
        return {
            name: LoraModule(name, linear.in_features, linear.out_features)
            for name, linear in self.named_modules()
            if isinstance(linear, nn.Linear) and name.startswith(starts)
        }


class Backbone(Towers):
    """The image-text model that the engine needs.

    Attributes:
        name: the name that users choose ("embedded", "ViT-B-16", …). slug: folder name for what is trained for it.
        choice: the arguments of ``load_backbone`` that load it again on this machine: "spec", "pretrained", "adapt_blocks", and
            "adapt" if not the default. ``core.backbones.spec.portable`` makes them valid on other machines.
        fingerprint: 16 hex digits that change with any weight or with the architecture.
        linears: all linears that a LoRA can adapt, by name.
        layout: the linears that LoRAs adapt unless an expert repository names others, and the rank of generated LoRAs.
        shared: the shared LoRA. Every adapter changes photos in this way, and texts in this way and by its expert LoRA. A
            photo's prefix then holds both embeddings, [2, d]. None: photos are embedded again for an adapter that changes them.
        dim: width d of the shared image-text space.
        adapted: the module whose linears ``linears`` and ``layout`` name (for peft; in evaluation mode, never trained).
        text_key: changes with anything that changes text prefixes; None if these are tokens, which are too cheap to cache.
        words: all words of the texts that trained it (``core.backbones.trained_words``); empty if unknown.
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
    text_key: str | None
    words: frozenset[str] = frozenset()

    @abstractmethod
    def text_prefix(self, texts: Sequence[str]) -> Tensor:
        """What is computed once per text, [n, …]: sentence embeddings, or token ids for a text tower that LoRAs adapt."""

    @abstractmethod
    def text_suffix(self, prefix: Tensor, lora: Lora | None = None) -> Tensor:
        """Embed texts in the shared space from their prefixes: [n, d], float32, unit length (lora None: zero-shot). Raises
        AdapterError: when the LoRA changes texts, but the prefix is already past the linears that it adapts."""

    @abstractmethod
    def suffix(self, prefix: Tensor, lora: Lora | None = None) -> Tensor:
        """Embed photos in the shared space, as ``text_suffix`` embeds texts. Raises AdapterError: likewise, for photos."""

    def encode_text(self, texts: Sequence[str], lora: Lora | None = None) -> Tensor:
        """Embed texts in the shared space, [n, d]. Raises as ``text_suffix``."""
        return self.text_suffix(self.text_prefix(texts), lora)


def last_text_linear(backbone: Backbone) -> LoraModule:
    """The last linear of the text side. Raises AdapterError: when no LoRA can adapt it."""
    module = backbone.linears.get(getattr(backbone.adapted.text, "last", None) or "")
    if module is None:
        raise AdapterError(f"{backbone.name} learns no names, since no LoRA adapts its last text linear: try --adapt texts.")
    return module


@torch.no_grad()
def last_linear(backbone: Backbone, prefix: Tensor, lora: Lora | None = None) -> tuple[Tensor, Tensor]:
    """The inputs [n, in] of ``last_text_linear`` for text prefixes [n, …], and the texts [n, d] before they are normalised.
    Both are float32 on the CPU, with the LoRA applied. Raises as ``last_text_linear``."""
    last_text_linear(backbone)
    unnormalised: Any = backbone.adapted.text.unnormalised
    inputs, outputs = unnormalised(prefix.to(backbone.device), lora and lora.to(backbone.device))
    return inputs.float().cpu(), outputs.float().cpu()


def finished(embeddings: Tensor, lora: Lora | None, side: Side) -> Tensor:
    """A suffix that adds nothing: cached embeddings [n, d] in float32. Raises AdapterError: when the LoRA adapts this side."""
    if lora is not None and (lora.moves_photos if side == "photos" else lora.moves_texts):
        raise AdapterError(f"This adapter changes {side}, but this backbone cannot: start it with --adapt {side}.")
    return F.normalize(embeddings.float(), dim=-1)


def photo_column(lora: Lora | None, shared: Lora | None) -> int:
    """The column of a photo's embeddings: 0 (zero-shot) if the LoRA does not change photos or there is one column, 1 if its
    factors for photos are those of ``shared``. Raises AdapterError: when it changes photos in another way."""
    if lora is None or shared is None or not lora.moves_photos:
        return 0
    ours, theirs = (each.only(m for m in each.modules if m.name.startswith(VISION)).digest for each in (lora, shared))
    if ours != theirs:
        raise AdapterError("This adapter changes photos in another way than this backbone: try this one with --adapt photos.")
    return 1
