"""Multi-head self-attention with separate q, k and v linears, and a LoRA that is passed in rather than injected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.backbones.lora import Lora
from core.common.errors import BackboneError

if TYPE_CHECKING:
    from timm.layers.attention import Attention

FEW_TOKENS = 64
PROJECTIONS = ("q_proj", "k_proj", "v_proj")


def adapted_linear(linear: nn.Module, x: Tensor, lora: Lora | None, name: str) -> Tensor:
    """``linear(x)``, plus ``x A^T B^T`` where the LoRA adapts the linear of this name; in the linear's dtype.

    The second term is computed in the factors' own dtype, float32: in half precision a small LoRA would lose digits twice.
    """
    y = linear(x)
    factors = None if lora is None else lora.factors.get(name)
    if factors is None:
        return y
    return (y + F.linear(F.linear(x.to(factors.a.dtype), factors.a), factors.b)).to(y.dtype)


def adapted_sequence(layers: nn.Module, x: Tensor, lora: Lora | None, name: str) -> Tensor:
    """What a module computes that runs its children one after the other, such as an MLP, with the LoRA on its linears."""
    for child, layer in layers.named_children():
        x = adapted_linear(layer, x, lora, f"{name}.{child}")
    return x


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention of q, k, v [n, heads, tokens, width]; ``mask`` [tokens, tokens] is added to its logits.

    In training on a CPU as plain matrix products: for two dozen tokens their backward pass is three times as fast as the fused
    one's (0.067 against 0.050 s for a whole step of the embedded backbone on two cores).
    """
    if q.requires_grad and q.device.type == "cpu" and q.shape[-2] <= FEW_TOKENS:
        logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        weights = torch.softmax(logits if mask is None else logits + mask, -1, dtype=torch.float32)
        return weights.to(v.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v, None if mask is None else mask.to(q.dtype))


class SplitAttention(nn.Module):
    """Self-attention as in ViT, with the fused input projection split in three, as the paper adapts it; ``width`` is a multiple
    of ``heads``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, lora: Lora | None = None, name: str = "", mask: Tensor | None = None) -> Tensor:
        """Attend over x [n, tokens, width]; ``name`` is this module's dotted name, under which the LoRA knows it; ``mask`` as
        in ``attend``."""

        def project(which: str) -> Tensor:
            y = adapted_linear(getattr(self, which), x, lora, f"{name}.{which}")
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [n, heads, tokens, width / heads]

        q, k, v = (project(which) for which in PROJECTIONS)
        heads = attend(q, k, v, mask)  # [n, heads, tokens, width / heads]
        return adapted_linear(self.out_proj, heads.transpose(1, 2).flatten(2), lora, f"{name}.out_proj")  # [n, tokens, width]

    @staticmethod
    def from_fused(attention: nn.MultiheadAttention) -> SplitAttention:
        """Split torch's fused ``in_proj`` of an ``nn.MultiheadAttention``; outputs stay equal.

        Weights are copied, on their device and in their dtype; missing biases become zero.

        Raises:
            BackboneError: not plain self-attention (other widths for k and v, or learned extra tokens).
        """
        if attention.in_proj_weight is None or attention.bias_k is not None or attention.add_zero_attn:
            raise BackboneError("Only plain self-attention can be split: one width for q, k and v, and no extra tokens.")
        split = _split(attention.in_proj_weight, attention.in_proj_bias, attention.out_proj, attention.num_heads)
        return split.train(attention.training)

    @staticmethod
    def from_timm(attention: Attention) -> SplitAttention:
        """As ``from_fused``, for the ``qkv`` of timm's ``Attention``.

        Raises:
            BackboneError: its heads together are not as wide as its input.
        """
        if attention.attn_dim != attention.qkv.in_features:
            raise BackboneError("Only plain self-attention can be split: heads that are as wide together as their input.")
        split = _split(attention.qkv.weight, attention.qkv.bias, attention.proj, attention.num_heads)
        return split.train(attention.training)


def _split(weight: Tensor, bias: Tensor | None, out: nn.Module, heads: int) -> SplitAttention:
    """From fused q, k and v, [3 * width, width] and [3 * width]."""
    with torch.device("meta"):  # every parameter is set below: no random numbers need be drawn for them
        split = SplitAttention(weight.shape[1], heads)
    split = split.to_empty(device=weight.device).to(weight.dtype)
    with torch.no_grad():
        for linear in (split.q_proj, split.k_proj, split.v_proj, split.out_proj):
            linear.bias.zero_()
        for which, part in zip(PROJECTIONS, weight.chunk(3), strict=True):
            getattr(split, which).weight.copy_(part)
        if bias is not None:
            for which, part in zip(PROJECTIONS, bias.chunk(3), strict=True):
                getattr(split, which).bias.copy_(part)
        split.out_proj.load_state_dict(out.state_dict(), strict=False)
    return split
