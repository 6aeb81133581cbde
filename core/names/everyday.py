"""How photos differ from everyday ones: linear discriminant analysis, with everyday photos as the background.

The mean mu of a name's photos also contains what most photos share, so it finds everyday photos too. The direction

    w = (S + EPSILON s I)^-1 (mu - mu_0),   mu_0, S: mean and covariance of everyday photos, s: the mean of S's diagonal

removes that (Hariharan, Malik and Ramanan, ECCV 2012, https://doi.org/10.1007/978-3-642-33765-9_33). mu_0 and S ship with the
embedded backbone: for zero-shot embeddings, and for embeddings under its shared LoRA.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from core.backbones.base import Backbone, photo_column
from core.backbones.lora import Lora
from core.common.paths import EVERYDAY_FILE, asset_path
from core.common.tensor_files import shipped_tensors, write_tensors

EPSILON = 3.0  # chosen from 0.3 to 10 on validation photos; between 1 and 10 it makes little difference


@dataclass(frozen=True, eq=False)
class EverydayPhotos:
    """Mean [d] and covariance [d, d] of everyday photos."""

    mean: Tensor
    covariance: Tensor

    @staticmethod
    def of(embeddings: Tensor) -> EverydayPhotos:
        return EverydayPhotos(embeddings.mean(0), torch.cov(embeddings.T))

    def apart(self, mean: Tensor) -> Tensor:
        """The unit-length direction [d] in which photos with this mean differ from everyday ones."""
        ridge = EPSILON * self.covariance.diagonal().mean() * torch.eye(len(self.mean))
        return F.normalize(torch.linalg.solve(self.covariance + ridge, mean - self.mean), dim=-1)


def everyday_photos(backbone: Backbone, lora: Lora | None) -> EverydayPhotos | None:
    """Statistics of everyday photos under a LoRA (None: zero-shot). None if the backbone has no such file, or if it has no
    shared LoRA and this LoRA moves photos. Raises as ``load_everyday`` and ``photo_column``."""
    if backbone.shared is None and lora is not None and lora.moves_photos:
        return None
    columns = load_everyday(asset_path(EVERYDAY_FILE, backbone.name), backbone.fingerprint)
    return columns[0 if backbone.shared is None else photo_column(lora, backbone.shared)] if columns else None


def save_everyday(columns: tuple[EverydayPhotos, EverydayPhotos], fingerprint: str, path: Path) -> None:
    """Write everyday photos, zero-shot and under the shared LoRA, as float16 safetensors. ``fingerprint``: the backbone's."""
    tensors = {f"{i}.{key}": getattr(photos, key).half() for i, photos in enumerate(columns) for key in ("mean", "covariance")}
    write_tensors(path, tensors, {"backbone_fingerprint": fingerprint})


@lru_cache(maxsize=4)
def load_everyday(path: Path, fingerprint: str) -> tuple[EverydayPhotos, ...]:
    """Read the file of ``save_everyday``; () if this backbone has none. Raises BackboneError: when it is damaged."""
    tensors = shipped_tensors(path, fingerprint)
    return tuple(EverydayPhotos(tensors[f"{i}.mean"], tensors[f"{i}.covariance"]) for i in range(2 if tensors else 0))
