"""Split attention, compared with torch's fused attention."""

import pytest
import torch
from tiny_models import noise
from torch import nn

from core.backbones.attention import SplitAttention
from core.common.errors import BackboneError

WIDTH, HEADS = 24, 4


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


@pytest.mark.parametrize("options", [{"kdim": 8, "vdim": 8}, {"add_bias_kv": True}, {"add_zero_attn": True}])
def test_other_attention_is_refused(options):
    with pytest.raises(BackboneError, match="plain self-attention"):
        SplitAttention.of(nn.MultiheadAttention(WIDTH, HEADS, **options))
