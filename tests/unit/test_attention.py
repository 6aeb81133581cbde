"""Split attention, compared with torch's fused attention."""

from __future__ import annotations

import pytest
import torch
from tiny_models import noise, random_lora
from torch import nn

from core.backbones.attention import PROJECTIONS, SplitAttention
from core.backbones.lora import LoraLayout, LoraModule
from core.common.errors import BackboneError

WIDTH, HEADS = 24, 4
LAYOUT = LoraLayout(tuple(LoraModule(f"block.attn.{p}", WIDTH, WIDTH) for p in PROJECTIONS), rank=2)


def fused(bias: bool = True) -> nn.MultiheadAttention:
    attention = nn.MultiheadAttention(WIDTH, HEADS, bias=bias, batch_first=True).eval()
    with torch.no_grad():
        for i, parameter in enumerate(attention.parameters()):
            parameter.copy_(0.3 * noise(*parameter.shape, seed=i))
    return attention


@pytest.mark.parametrize("bias", [True, False])
def test_split_equals_fused(bias):
    attention, x = fused(bias), noise(3, 7, WIDTH, seed=9)
    split = SplitAttention.of(attention)
    torch.testing.assert_close(split(x), attention(x, x, x, need_weights=False)[0], atol=1e-5, rtol=1e-5)
    assert not split.training


def test_split_keeps_dtype_and_shares_no_memory():
    attention = fused().double()
    before = attention.in_proj_weight.clone()
    split = SplitAttention.of(attention)
    assert {p.dtype for p in split.parameters()} == {torch.float64}
    with torch.no_grad():
        split.q_proj.weight.zero_()
    assert torch.equal(attention.in_proj_weight, before)


def test_lora_equals_fused_attention_with_merged_weights():
    attention, x = fused(), noise(2, 5, WIDTH, seed=3)
    split, lora = SplitAttention.of(attention), random_lora(LAYOUT, 1)
    with torch.no_grad():
        attention.in_proj_weight += torch.cat([lora.factors[f"block.attn.{p}"].delta for p in PROJECTIONS])
    expected = attention(x, x, x, need_weights=False)[0]
    torch.testing.assert_close(split(x, lora, "block.attn"), expected, atol=5e-5, rtol=1e-5)
    assert (split(x) - expected).abs().max() > 0.01
    assert torch.equal(split(x, lora, "another.attn"), split(x)), "a LoRA of other modules has no effect here"


@pytest.mark.parametrize("options", [{"kdim": 8, "vdim": 8}, {"add_bias_kv": True}, {"add_zero_attn": True}])
def test_other_attention_is_refused(options):
    with pytest.raises(BackboneError, match="plain self-attention"):
        SplitAttention.of(nn.MultiheadAttention(WIDTH, HEADS, **options))
