"""From a decoded photo to the pixels that the embedded backbone sees."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.common.images import SIDE, resized

MEAN, STD = 0.498, 0.502  # measured for EfficientNet-Lite0 (docs/design.md, section 3)

MAX_ASPECT = 2.0  # wider or taller photos are centre-cropped to this before they are squashed to a square

_NORMALISED = torch.arange(256).float().div_(255).sub_(MEAN).div_(STD).numpy()  # of each level of a colour


def square(image: Image.Image, side: int = SIDE) -> Image.Image:
    """The whole photo as a ``side`` x ``side`` RGB square; only beyond 2:1 are the ends cut off.

    Squashing keeps everything in view, which matters more for search than the aspect does, and it is what the
    training photos had been through.
    """
    width, height = image.size
    if width > MAX_ASPECT * height:
        keep = max(1, round(MAX_ASPECT * height))
        left = (width - keep) // 2
        image = image.crop((left, 0, left + keep, height))
    elif height > MAX_ASPECT * width:
        keep = max(1, round(MAX_ASPECT * width))
        top = (height - keep) // 2
        image = image.crop((0, top, width, top + keep))
    return image if image.size == (side, side) else resized(image, side, side)


def to_pixels(image: Image.Image) -> Tensor:
    """Normalised pixels [3, 224, 224] float32 of an RGB photo."""
    return torch.from_numpy(_NORMALISED[np.asarray(square(image), dtype=np.uint8)]).permute(2, 0, 1)
