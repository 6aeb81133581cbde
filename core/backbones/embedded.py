"""The embedded backbone: two frozen towers from PyPI packages and our two small heads. It needs no hub and no GPU."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from core.backbones.attention import PROJECTIONS
from core.backbones.base import Backbone, TwoTowers, finished, photo_column
from core.backbones.frozen_towers import IMAGE_TOWER_SHA256, MAP_CHANNELS, MAP_TOKENS, TEXT_TOWER_SHA256, EmbeddedTowers
from core.backbones.heads import HeadsConfig, TextHead, VisionHead
from core.backbones.lora import LORA_RANK, VISION, Lora, LoraLayout, LoraModule
from core.backbones.openvino_network import openvino_network
from core.backbones.spec import Side, adapted_side
from core.backbones.trained_words import load_words
from core.backbones.translations import Maps, toward_english
from core.common.device import CPU, batch_size, sent
from core.common.errors import BackboneError
from core.common.runtime import compute_dtype
from core.common.tensor_files import damage_raises, read_tensors, shipped_tensors, write_tensors

HEAD_BATCH = 128
TOWERS = f"{IMAGE_TOWER_SHA256} {TEXT_TOWER_SHA256}"
SHARED_FILE, TRANSLATIONS_FILE = "shared.safetensors", "translations.safetensors"  # beside the heads
WORDS_FILE = "words.txt"
COLUMNS_AT_ONCE = 4  # photos a request: 1 takes half as long again, 8 are not faster
LEAST_BATCH = 8  # with fewer rows, oneDNN multiplies bfloat16 in another order: embeddings would depend on the batch


class EmbeddedBackbone(EmbeddedTowers, Backbone):
    """The towers and our heads, in two forms that share their weights (docs/design.md, section 3).

    If LoRAs adapt texts, a photo's prefix is its embedding, zero-shot and under the shared LoRA (if there is one). So one index
    of photos serves all adapters. If LoRAs adapt photos, as in the paper, the prefix is the image tower's map, and a LoRA may
    adapt any linear of both heads.

    Texts are embedded in float32, photos in ``dtype`` (None: the fastest that the device supports natively). ``heads``: the
    fingerprint of both heads.

    Attributes:
        translations: by language, the map that moves a sentence toward English (``core.backbones.translations``).
    """

    name = "embedded"

    def __init__(
        self, vision: VisionHead, text: TextHead, heads: str, dtype: torch.dtype | None = None, adapt: Side = "texts"
    ) -> None:
        self._wanted_dtype = dtype
        self.adapted = TwoTowers(text, vision, MAP_TOKENS).eval().requires_grad_(False)
        self._heads, self.dim = heads, vision.config.dim
        self.linears = self.adapted.linears("text.", "vision.")
        self.translations: Maps = {}
        self._form(None, adapt)

    @property
    def dtype(self) -> torch.dtype:
        return self._wanted_dtype or compute_dtype(self.device)

    def adapting(self, side: Side) -> EmbeddedBackbone:
        """The backbone with LoRAs on one side. It shares this one's weights."""
        return self if side == adapted_side(self.choice) else copy.copy(self)._form(self._shared, side)

    def with_shared(self, shared: Lora | None) -> EmbeddedBackbone:
        """A backbone of the same heads with another shared LoRA, rounded as in its file. Raises ValueError: when it adapts
        other linears than those of the heads."""
        return copy.copy(self)._form(shared, adapted_side(self.choice))

    def _form(self, shared: Lora | None, adapt: Side) -> Self:
        """Take this form; returns itself."""
        self._shared, self.fingerprint = None, self._heads
        if shared is not None:
            tensors = _shared_tensors(shared)
            self._shared, self.fingerprint = Lora.read(tensors, self.linears.values()), _digest(tensors, self._heads)
        if adapt == "texts":
            adapted = [name for name in self.linears if name.startswith("text.mlp.")]
            self.shared, self.slug, self.choice = self._shared, self.name, {"spec": self.name}
            self.prefix_key, self.prefix_shape = self.fingerprint, (self.dim,) if self._shared is None else (2, self.dim)
        else:
            adapted = [name for name in self.linears if name.endswith(PROJECTIONS)]
            self.shared, self.slug, self.choice = None, f"{self.name}-{adapt}", {"spec": self.name, "adapt": adapt}
            self.prefix_key, self.prefix_shape = EmbeddedTowers.prefix_key, EmbeddedTowers.prefix_shape
        self.layout = LoraLayout.of(self.linears, adapted, LORA_RANK)
        self._set_vision()
        return self

    def to(self, device: torch.device) -> Self:
        if device != self.device:  # a copy, so that the other form stays on its device
            self.adapted = copy.deepcopy(self.adapted).to(device)
            super().to(device)
            self._set_vision()
        return self

    def _set_vision(self) -> None:
        """Prepare the vision head and, if there is a shared LoRA, a copy with it in the weights. That takes half the time of a
        LoRA."""
        heads = [self.adapted.vision]
        if self._shared is not None:
            heads.append(copy.deepcopy(self.adapted.vision))
            for name, f in self._shared.to(self.device).factors.items():
                if name.startswith(VISION):
                    heads[1].get_submodule(name.removeprefix(VISION)).get_parameter("weight").add_(f.delta)
        self._vision = [self._in_compute_dtype(head) for head in heads]
        example = torch.zeros(COLUMNS_AT_ONCE, MAP_TOKENS, MAP_CHANNELS).half()
        on_cpu = self.device == CPU
        self._columns = cache(lambda: openvino_network(_Columns(heads), example, self.dtype) if on_cpu else None)

    def _in_compute_dtype(self, head: nn.Module) -> nn.Module:
        """The head with its linears in the compute dtype. Norms, positions and the residual stream stay in float32."""
        if self.dtype == torch.float32:
            return head
        head = copy.deepcopy(head)
        for module in head.modules():
            if isinstance(module, nn.Linear):
                module.to(self.dtype)
        return head

    @property
    def text_key(self) -> str:
        return _digest(self.translations, self.sentence_key)

    def text_prefix(self, texts: Sequence[str]) -> Tensor:
        return toward_english(self.translations, texts, self.encode_sentence)

    @torch.no_grad()
    def text_suffix(self, prefix: Tensor, lora: Lora | None = None) -> Tensor:
        return self.adapted.text(prefix.to(self.device), lora and lora.to(self.device)).cpu()

    def prefix(self, pixels: Tensor) -> Tensor:
        maps = super().prefix(pixels)
        if self.layout.moves_photos:
            return maps
        return self.embedded(maps).half() if self.shared is None else self.columns(maps)

    def columns(self, maps: Tensor) -> Tensor:
        """Embeddings [n, 2, d] float16 of the image tower's maps [n, 49, 320]: zero-shot, and under the shared LoRA."""
        if run := self._columns():
            return run(maps)
        return self._through(_Columns(self._vision), maps)

    def embedded(self, maps: Tensor, lora: Lora | None = None) -> Tensor:
        """Embeddings [n, d] of the image tower's maps [n, 49, 320]."""
        return self._through(self._vision[0], maps, lora and lora.to(self.device))

    @torch.no_grad()
    def _through(self, head: nn.Module, maps: Tensor, lora: Lora | None = None) -> Tensor:
        size, n = batch_size(self.device, HEAD_BATCH), len(maps)
        if self.dtype == torch.bfloat16 and 0 < n % size < LEAST_BATCH:
            maps = torch.cat([maps, maps[-1:].expand(LEAST_BATCH - n % size, *maps.shape[1:])])
        parts = [head(sent(part, self.device).float(), lora).cpu() for part in maps.split(size)]
        return torch.cat(parts)[:n]

    def suffix(self, prefix: Tensor, lora: Lora | None = None) -> Tensor:
        if self.layout.moves_photos:
            return self.embedded(prefix, lora)
        if self.shared is None:
            return finished(prefix, lora, "photos")
        return finished(prefix[:, photo_column(lora, self.shared)], None, "photos")


class _Columns(nn.Module):
    """From the image tower's maps [n, 49, 320] to all columns of photos, [n, columns, d] float16."""

    def __init__(self, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, maps: Tensor, lora: Lora | None = None) -> Tensor:
        maps = maps.float()
        return torch.stack([head(maps, lora) for head in self.heads], 1).half()


def save_heads(vision: VisionHead, text: TextHead, path: Path, training: dict[str, object]) -> str:
    """Write both heads as float16 safetensors. Returns the backbone's fingerprint."""
    state = TwoTowers(text, vision, MAP_TOKENS).state_dict()
    tensors = {name: value.half().contiguous() for name, value in state.items()}
    metadata = {"config": json.dumps(vars(vision.config)), "training": json.dumps(training)}
    write_tensors(path, tensors, metadata)
    return _digest(tensors, f"{TOWERS} {metadata['config']}")


def save_shared(shared: Lora, path: Path, training: dict[str, object]) -> None:
    """Write the shared LoRA as float16 safetensors."""
    write_tensors(path, _shared_tensors(shared), {"training": json.dumps(training)})


def _shared_tensors(shared: Lora) -> dict[str, Tensor]:
    return {name: part.detach().cpu().half().contiguous() for name, part in shared.tensors().items()}


def _digest(tensors: Mapping[str, Tensor], base: str) -> str:
    """16 hex digits over tensors and ``base``, the identity of what they build on."""
    digest = hashlib.sha256(base.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()[:16]


def load_embedded(path: Path, dtype: torch.dtype | None = None, adapt: Side = "texts") -> EmbeddedBackbone:
    """Load the heads of ``save_heads`` and, if they are beside them, the shared LoRA, maps from other languages, and words.
    Raises BackboneError: when the heads are missing, or a file is damaged or for another architecture."""
    if not path.is_file():
        raise BackboneError(f"The backbone's heads {path} are missing: `python -m core train backbone` writes them.")
    with damage_raises(BackboneError, path.name):
        tensors, metadata = read_tensors(path)
        config = HeadsConfig(**json.loads(metadata["config"]))
        vision, text = VisionHead(config), TextHead(config)
        TwoTowers(text, vision, MAP_TOKENS).load_state_dict(tensors)
    backbone = EmbeddedBackbone(vision, text, _digest(tensors, f"{TOWERS} {metadata['config']}"), dtype, adapt)
    backbone.translations = shipped_tensors(path.with_name(TRANSLATIONS_FILE), TEXT_TOWER_SHA256)
    backbone.words = load_words(path.with_name(WORDS_FILE))
    shared = path.with_name(SHARED_FILE)
    return backbone.with_shared(load_shared(shared, backbone.linears)) if shared.is_file() else backbone


def load_shared(path: Path, linears: Mapping[str, LoraModule]) -> Lora:
    """Read the file of ``save_shared``. Raises BackboneError: when it is missing, damaged or for other heads."""
    with damage_raises(BackboneError, path.name, "restore it, with the heads that it belongs to"):
        shared = Lora.read(read_tensors(path)[0], linears.values())
        shared.check_finite(path.name)
    return shared
