"""The same frozen convolutional network with less to do: no batch norms, and no copies of its input for padding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


@torch.no_grad()
def fold_batch_norms(network: nn.Module) -> None:
    """Put the scale and shift of each batch norm into the convolution before it; its activation stays in its place.

    Args:
        network: in evaluation mode; each batch norm must follow a convolution of the same module. Changed in place.
    """
    before: tuple[str, nn.Conv2d] | None = None
    for name, child in list(network.named_children()):
        if isinstance(child, nn.Conv2d):
            before = name, child
        elif isinstance(child, BatchNormAct2d):
            assert before is not None, f"no convolution before {name}"
            setattr(network, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(network, name, child.act)
            before = None
        else:
            fold_batch_norms(child)


@torch.no_grad()
def pad_inside(network: nn.Module) -> None:
    """Let convolutions of stride 2 pad by themselves.

    TensorFlow's "same" padding has one row and column more at the end than at the beginning, which PyTorch can only do by
    copying the input. A kernel that begins with a row and a column of zeros does the same with equal padding.

    Args:
        network: it must only ever see inputs of even sizes. Changed in place.
    """
    for name, child in list(network.named_children()):
        if isinstance(child, Conv2dSame) and child.stride == (2, 2):
            setattr(network, name, _widened(child))
        else:
            pad_inside(child)


def _widened(conv: Conv2dSame) -> nn.Conv2d:
    size = conv.kernel_size[0]
    padding = (size - 1) // 2  # of a total of size - 2, the larger half, which is at the end
    wide = nn.Conv2d(
        conv.in_channels, conv.out_channels, size + 1, 2, padding, groups=conv.groups, bias=conv.bias is not None
    ).requires_grad_(False)
    wide.weight.copy_(F.pad(conv.weight, (1, 0, 1, 0)))
    if conv.bias is not None and wide.bias is not None:
        wide.bias.copy_(conv.bias)
    return wide
