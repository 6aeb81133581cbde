"""Transformer blocks with separate q, k and v linears. The LoRA is an argument and is never injected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.backbones.lora import Lora
from core.common.errors import BackboneError

PROJECTIONS = ("q_proj", "k_proj", "v_proj")


def adapted_linear(linear: nn.Module, x: Tensor, lora: Lora | None, name: str) -> Tensor:
    """``linear(x)``, plus ``x A^T B^T`` if the LoRA adapts the linear of this name; in the linear's dtype. The second term is
    computed in the factors' dtype, float32. In half precision a small LoRA would lose digits twice."""
    y = linear(x)
    factors = None if lora is None else lora.factors.get(name)
    if factors is None:
        return y
    return (y + F.linear(F.linear(x.to(factors.a.dtype), factors.a), factors.b)).to(y.dtype)


def adapted_sequence(layers: nn.Module, x: Tensor, lora: Lora | None, name: str) -> Tensor:
    """Run the children of a module one after the other, as in an MLP, with the LoRA on its linears."""
    for child, layer in layers.named_children():
        x = adapted_linear(layer, x, lora, f"{name}.{child}")
    return x


class SplitAttention(nn.Module):
    """Self-attention as in ViT, with one linear each for q, k and v, as the paper adapts them. ``heads`` divides ``width``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, lora: Lora | None = None, name: str = "", mask: Tensor | None = None) -> Tensor:
        """Attend over x [n, tokens, width]. ``name``: this module's dotted name in the LoRA. ``mask`` [tokens, tokens] is added
        to the logits."""

        def project(part: str) -> Tensor:
            y = adapted_linear(getattr(self, part), x, lora, f"{name}.{part}")
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [n, heads, tokens, width / heads]

        q, k, v = (project(part) for part in PROJECTIONS)
        heads = F.scaled_dot_product_attention(q, k, v, None if mask is None else mask.to(q.dtype))
        return adapted_linear(self.out_proj, heads.transpose(1, 2).flatten(2), lora, f"{name}.out_proj")  # [n, tokens, width]

    @staticmethod
    def of(attention: Any) -> SplitAttention:
        """Split the fused q, k and v of torch's ``nn.MultiheadAttention`` or timm's ``Attention``. Outputs stay equal.

        Weights are copied with their device and dtype; missing biases become zero. Raises BackboneError: when it is not plain
        self-attention (other widths for k and v, or learned extra tokens).
        """
        if isinstance(attention, nn.MultiheadAttention):
            plain = attention.in_proj_weight is not None and attention.bias_k is None and not attention.add_zero_attn
            weight, bias, out = attention.in_proj_weight, attention.in_proj_bias, attention.out_proj
        else:
            plain = attention.attn_dim == attention.qkv.in_features
            weight, bias, out = attention.qkv.weight, attention.qkv.bias, attention.proj
        if not plain:
            raise BackboneError("Only plain self-attention can be split: one width for q, k and v, and no extra tokens.")
        with torch.device("meta"):  # draws no random numbers: every parameter is set below
            split = SplitAttention(weight.shape[1], attention.num_heads)
        weights = [*weight.chunk(3), out.weight]
        biases = [*(weight.new_zeros(len(weight)) if bias is None else bias).chunk(3)]
        biases += [weight.new_zeros(len(out.weight)) if out.bias is None else out.bias]
        linears = (split.q_proj, split.k_proj, split.v_proj, split.out_proj)
        for linear, weight, bias in zip(linears, weights, biases, strict=True):
            linear.weight, linear.bias = (nn.Parameter(part.detach().clone()) for part in (weight, bias))
        return split.train(attention.training)


class Block(nn.Module):
    """Pre-norm transformer block (ViT, arXiv 2010.11929). In a LoRA, names of its linears start with ``name``."""

    def __init__(
        self,
        name: str,
        norm1: nn.Module,
        attn: SplitAttention,
        norm2: nn.Module,
        mlp: nn.Module,
        scale1: nn.Module | None = None,
        scale2: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.name, self.norm1, self.attn, self.norm2, self.mlp = name, norm1, attn, norm2, mlp
        self.scale1, self.scale2 = scale1 or nn.Identity(), scale2 or nn.Identity()

    @staticmethod
    def of(block: Any, name: str) -> Block:
        """Convert open_clip's ``ResidualAttentionBlock`` or timm's ``Block``. Only the attention's weights are copied.

        q, k and v become separate linears: peft on torch's fused ``nn.MultiheadAttention`` is wrong and not thread-safe
        (docs/design.md, section 3), and one A for all three is not the paper's parameterisation.
        """
        attn = SplitAttention.of(block.attn)
        if hasattr(block, "ln_1"):
            return Block(name, block.ln_1, attn, block.ln_2, block.mlp, block.ls_1, block.ls_2)
        return Block(name, block.norm1, attn, block.norm2, block.mlp, block.ls1, block.ls2)

    def forward(self, x: Tensor, lora: Lora | None = None, mask: Tensor | None = None) -> Tensor:
        """From tokens [n, tokens, width] to the same shape. ``mask``: as in ``SplitAttention``."""
        dtype = self.attn.q_proj.weight.dtype  # the compute dtype; the residual stream keeps its own
        x = x + self.scale1(self.attn(self.norm1(x).to(dtype), lora, f"{self.name}.attn", mask))
        return x + self.scale2(adapted_sequence(self.mlp, self.norm2(x).to(dtype), lora, f"{self.name}.mlp"))


def last_blocks(blocks: Sequence[Any], count: int, part: str) -> nn.ModuleDict:
    """Convert the last ``count`` blocks of a tower, so that a LoRA can adapt them. ``part``: the tower's name in ``TwoTowers``.

    They keep their numbers in the whole tower: an adapter of the last two blocks cannot be loaded into the first two. Raises
    BackboneError: when ``count`` is out of range.
    """
    if not 1 <= count <= len(blocks):
        tower = "text" if part == "text" else "image"
        raise BackboneError(f"adapt_blocks is {count}: this {tower} tower has 1 to {len(blocks)} blocks to adapt.")
    numbers = range(len(blocks) - count, len(blocks))
    return nn.ModuleDict({str(i): Block.of(blocks[i], f"{part}.blocks.{i}") for i in numbers})
