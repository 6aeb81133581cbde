"""What names mean in the space of photos: one ridge regression for all of them.

    X [m, d]  unit-length embeddings of the photos of all names,   Z [m, n]  1 where a photo has the name, else 0
    M [d, d]  second moment of the background: photos without a name, such as everyday photos, or those that are searched

    W = (X^T X + BACKGROUND M + RIDGE s I)^-1 X^T Z,   s: mean of the diagonal of X^T X + BACKGROUND M

Column i of W, at unit length, is the direction of name i. Photos of other names and of the background have the answer 0, so it
leaves out what all of them share. It is linear discriminant analysis with few photos of many classes (Hastie, Tibshirani and
Friedman, The Elements of Statistical Learning, section 4.2); a class mean would also find what is common.

The second moment of everyday photos ships with the embedded backbone, for searches among a few photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from core.backbones.base import Backbone
from core.common.paths import EVERYDAY_FILE, asset_path
from core.common.tensor_files import shipped_tensors, write_tensors

# Chosen on validation photos (docs/design.md, section 2); from a third to three times as much makes little difference.
BACKGROUND = 1_000  # the background weighs as much as so many photos
RIDGE = 0.1


def ridge_directions(photos: Tensor, named: Tensor, moment: Tensor | None) -> Tensor:
    """The unit-length direction of each name, [n, d]. ``photos``: X; ``named``: Z; ``moment``: M; None: no background."""
    x, z = photos.double(), named.double()
    gram = x.T @ x + (0 if moment is None else BACKGROUND * moment.double())
    gram = gram + RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return F.normalize(torch.linalg.solve(gram, x.T @ z).T, dim=-1).float()


@dataclass(frozen=True, eq=False)
class Background:
    """M for each column of an index (``core.retrieval.columns``), [columns, d, d]."""

    moments: Tensor

    @staticmethod
    def of(columns: Sequence[Tensor]) -> Background:
        """From the photos [n, d] of each column."""
        return Background(torch.stack([photos.T @ photos / len(photos) for photos in columns]))


@lru_cache(maxsize=8)
def pooled(parts: tuple[Background, ...], photos: tuple[int, ...]) -> Background:
    """The background of several sets of photos together, from that of each and their numbers of photos."""
    shares = torch.tensor(photos) / sum(photos)
    return Background(torch.einsum("p, pcij -> cij", shares, torch.stack([part.moments for part in parts])))


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
    return Background(torch.stack([tensors[f"{column}.moment"] for column in range(len(tensors))])) if tensors else None
