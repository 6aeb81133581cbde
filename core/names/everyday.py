"""The background of names: photos that have none of them, such as everyday photos, or the photos that are searched.

A regression (``core.names.ridge``) needs only their second moment. That of everyday photos ships with the embedded backbone,
zero-shot and under its shared LoRA, for searches among a few photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from core.backbones.base import Backbone
from core.common.paths import EVERYDAY_FILE, asset_path
from core.common.tensor_files import shipped_tensors, write_tensors


@dataclass(frozen=True, eq=False)
class Background:
    """The second moment E[x x'] [d, d] of photos, one for each column of an index (``core.retrieval.columns``)."""

    moments: tuple[Tensor, ...]

    @staticmethod
    def of(columns: Sequence[Tensor]) -> Background:
        """From the photos [n, d] of each column."""
        return Background(tuple(photos.T @ photos / len(photos) for photos in columns))


@lru_cache(maxsize=8)
def pooled(parts: tuple[Background, ...], photos: tuple[int, ...]) -> Background:
    """The background of several sets of photos together, from that of each and their numbers of photos."""
    weights = [count / sum(photos) for count in photos]
    columns = zip(*(part.moments for part in parts), strict=True)
    return Background(tuple(sum(w * m for w, m in zip(weights, column, strict=True)) for column in columns))  # type: ignore[misc]


def everyday_photos(backbone: Backbone) -> Background | None:
    """The background that ships with a backbone. None if there is none. Raises BackboneError: when the file is damaged."""
    return load_everyday(asset_path(EVERYDAY_FILE, backbone.name), backbone.fingerprint)


def save_everyday(photos: Background, fingerprint: str, path: Path) -> None:
    """Write a background as float16 safetensors. ``fingerprint``: the backbone's."""
    tensors = {f"{column}.moment": moment.half() for column, moment in enumerate(photos.moments)}
    write_tensors(path, tensors, {"backbone_fingerprint": fingerprint})


@lru_cache(maxsize=4)
def load_everyday(path: Path, fingerprint: str) -> Background | None:
    """Read the file of ``save_everyday``; None if this backbone has none. Raises BackboneError: when it is damaged."""
    tensors = shipped_tensors(path, fingerprint)
    return Background(tuple(tensors[f"{column}.moment"] for column in range(len(tensors)))) if tensors else None
