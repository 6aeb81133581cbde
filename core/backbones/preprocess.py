"""From a photo to the numbers that an image tower sees."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from core.common.images import Framing


class Preprocessing:
    """Implements what ``core.backbones.base.Towers`` has before ``prefix``; ``mean`` and ``std`` are of values from 0 to 1."""

    framing: Framing
    mean: Tensor | float
    std: Tensor | float

    def normalised(self, frames: Tensor) -> Tensor:
        return frames.permute(0, 3, 1, 2).float().div_(255).sub_(self.mean).div_(self.std)

    def pixels(self, image: Image.Image) -> Tensor:
        framed = self.framing(image)
        values = torch.frombuffer(bytearray(framed.tobytes()), dtype=torch.uint8)
        return self.normalised(values.view(1, framed.height, framed.width, 3))[0]
