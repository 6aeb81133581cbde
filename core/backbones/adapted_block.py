"""A transformer block of a library, of either tower, whose linears a LoRA can adapt.

peft on torch's fused ``nn.MultiheadAttention`` is wrong and not thread-safe (docs/design.md, section 3), and one shared A is
not the paper's parameterisation. So q, k and v become linears of their own; all else is the library's.
"""

from __future__ import annotations

from typing import Any

from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from core.backbones.attention import SplitAttention, adapted_sequence
from core.backbones.lora import Lora


class AdaptedBlock(nn.Module):
    """A block whose attention is split; its norms, layer scales and MLP are the original's.

    Args:
        block: open_clip's ``ResidualAttentionBlock`` or timm's ``Block``; only the attention's weights are copied.
        name: under which a LoRA knows it.
    """

    def __init__(self, block: Any, name: str) -> None:
        super().__init__()
        self.name = name
        if isinstance(block, ResidualAttentionBlock):
            self.attn = SplitAttention.from_fused(block.attn)
            self.norm1, self.scale1, self.norm2, self.scale2 = block.ln_1, block.ls_1, block.ln_2, block.ls_2
        else:
            self.attn = SplitAttention.from_timm(block.attn)
            self.norm1, self.scale1, self.norm2, self.scale2 = block.norm1, block.ls1, block.norm2, block.ls2
        self.mlp = block.mlp

    def forward(self, x: Tensor, lora: Lora | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens [n, tokens, width] to the same; ``mask`` [tokens, tokens] is added to the attention's logits."""
        x = x + self.scale1(self.attn(self.norm1(x), lora, f"{self.name}.attn", mask))
        return x + self.scale2(adapted_sequence(self.mlp, self.norm2(x), lora, f"{self.name}.mlp"))
