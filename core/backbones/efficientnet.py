"""EfficientNet-Lite0 (arXiv 1905.11946, without squeeze-and-excitation), with every batch norm folded.

Tests compare it with timm's ``tf_efficientnet_lite0``. It does not use timm, because importing timm takes longer than the rest
of the app's start.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

BLOCKS = 16
HALVING = (1, 3, 5, 11)  # blocks with stride 2; the stem has it too
BATCH_NORM_EPS = 1e-3  # TensorFlow's

Weights = Mapping[str, Tensor]


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution and projection. With ``around``, the input is added to the result."""

    def __init__(self, layers: nn.Sequential, around: bool) -> None:
        super().__init__()
        self.layers, self.around = layers, around

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.around else self.layers(x)


def body(weights: Weights) -> nn.Sequential:
    """From pixels [n, 3, 224, 224] to the last convolutional map [n, 320, 7, 7]. Weights have the package's names."""
    stem = _convolution(weights, "_conv_stem", "_bn0", stride=2)
    return nn.Sequential(stem, nn.ReLU6(), *(_block(weights, f"_blocks.{i}.", 2 if i in HALVING else 1) for i in range(BLOCKS)))


def classifier(weights: Weights) -> nn.Sequential:
    """From the map [n, 320, 7, 7] to logits [n, 1000] for ImageNet's classes."""
    scores = nn.Linear(1280, 1000)
    scores.load_state_dict({"weight": weights["_fc.weight"], "bias": weights["_fc.bias"]})
    head = _convolution(weights, "_conv_head", "_bn1")
    return nn.Sequential(head, nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), scores)


def _block(weights: Weights, name: str, stride: int) -> InvertedResidual:
    depthwise = _convolution(weights, f"{name}_depthwise_conv", f"{name}_bn1", stride)
    project = _convolution(weights, f"{name}_project_conv", f"{name}_bn2")
    layers, channels = [depthwise, nn.ReLU6(), project], depthwise.in_channels
    if f"{name}_expand_conv.weight" in weights:
        expand = _convolution(weights, f"{name}_expand_conv", f"{name}_bn0")
        layers, channels = [expand, nn.ReLU6(), *layers], expand.in_channels
    return InvertedResidual(nn.Sequential(*layers), stride == 1 and channels == project.out_channels)


@torch.no_grad()
def _convolution(weights: Weights, name: str, norm: str, stride: int = 1) -> nn.Conv2d:
    """A convolution with its batch norm folded in, and with TensorFlow's "same" padding for inputs of even size.

    With stride 2, this padding has one more row and column at the end than at the beginning. PyTorch would copy the input for
    it. Equal padding and a kernel with a first row and column of zeros do the same.
    """
    mean, variance = weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]
    scale, shift = weights[f"{norm}.weight"], weights[f"{norm}.bias"]
    weight, bias = fuse_conv_bn_weights(weights[f"{name}.weight"], None, mean, variance, BATCH_NORM_EPS, scale, shift)
    padding = (weight.shape[-1] - 1) // 2
    if stride == 2:
        weight = F.pad(weight, (1, 0, 1, 0))
    channels, inputs, size, _ = weight.shape
    groups = channels if inputs == 1 else 1
    convolution = nn.Conv2d(inputs * groups, channels, size, stride, padding, groups=groups)
    convolution.load_state_dict({"weight": weight, "bias": bias})
    return convolution
