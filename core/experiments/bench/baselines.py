"""Ways to index photos that the product's own is compared with."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Sequence

import faiss
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.backbones.embedded import EmbeddedBackbone
from core.backbones.preprocess import MEAN, STD
from core.common.images import SIDE

Source = tuple[str, bytes]


def naive(backbone: EmbeddedBackbone) -> Callable[[Sequence[Source]], Tensor]:
    """EfficientNet-Lite0 as a first script runs it: float32, default memory format, one photo after the other.

    Returns:
        a function from files to [n, d], as they lie in a FAISS index that grows photo by photo.
    """
    tower = copy.deepcopy(backbone.image_tower.model).to(memory_format=torch.contiguous_format)
    head = backbone.adapted.vision

    @torch.no_grad()
    def run(files: Sequence[Source]) -> Tensor:
        index = faiss.IndexFlatIP(backbone.dim)
        for _, content in files:
            image = Image.open(io.BytesIO(content)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            values = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().contiguous()
            x = tower.blocks(tower.bn1(tower.conv_stem((values / 255 - MEAN).div(STD).unsqueeze(0))))
            index.add(head(x.flatten(2).transpose(1, 2)).numpy())
        return torch.from_numpy(index.reconstruct_n(0, len(files)))

    return run
