"""From a framed photo to the numbers that the embedded backbone sees."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from core.common.images import Framing

MEAN, STD = 0.498, 0.502  # measured for EfficientNet-Lite0 (docs/design.md, section 3)

# Squashing keeps everything in view, which matters more for search than the aspect does, and it is what the training photos
# had been through.
FRAMING = Framing()


def pixel_values(image: Image.Image) -> Tensor:
    """The values of an RGB photo, [height, width, 3] uint8."""
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, image.width, 3)
