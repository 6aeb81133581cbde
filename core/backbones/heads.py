"""The trained part of the embedded backbone: a small vision transformer and a text MLP (docs/design.md, section 3)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.backbones.attention import Block, SplitAttention, adapted_linear, adapted_sequence
from core.backbones.frozen_towers import MAP_CHANNELS, MAP_TOKENS, SENTENCE_DIM
from core.backbones.lora import Lora


@dataclass(frozen=True)
class HeadsConfig:
    """Sizes of both heads. ``width``, ``depth`` and ``heads`` are the vision transformer's, ``dim`` is the shared space's."""

    width: int = 256
    depth: int = 3
    heads: int = 4
    mlp_ratio: int = 4
    dim: int = 384
    text_hidden: int = 1024


class VisionHead(nn.Module):
    """Frozen convolutional map [n, 49, 320] -> shared space [n, dim], unit length."""

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__()
        self.config = config
        self.norm_in = nn.LayerNorm(MAP_CHANNELS)
        self.proj_in = nn.Linear(MAP_CHANNELS, config.width)
        self.cls = nn.Parameter(torch.zeros(config.width))
        self.pos = nn.Parameter(torch.randn(MAP_TOKENS, config.width) * 0.02)
        self.blocks = nn.ModuleList(_block(config, f"vision.blocks.{i}") for i in range(config.depth))
        self.norm_out = nn.LayerNorm(2 * config.width)
        self.proj_out = nn.Linear(2 * config.width, config.dim, bias=False)

    def forward(self, prefix: Tensor, lora: Lora | None = None, keep: Tensor | None = None) -> Tensor:
        """Encode maps [n, 49, 320]. ``keep`` selects fewer tokens, which trains faster and regularises."""
        dtype = self.proj_in.weight.dtype
        x = self.norm_in(prefix.to(self.pos.dtype)).to(dtype)
        x = adapted_linear(self.proj_in, x, lora, "vision.proj_in") + self.pos  # [n, 49, width]
        if keep is not None:
            x = x[:, keep]  # [n, t, width]
        x = torch.cat([self.cls.expand(len(x), 1, -1).to(x.dtype), x], 1)  # [n, 1 + t, width]
        for block in self.blocks:
            x = block(x, lora)
        # The class token holds what matters, the mean of the patches the rest of the photo.
        pooled = self.norm_out(torch.cat([x[:, 0], x[:, 1:].mean(1)], -1))  # [n, 2 width]
        return F.normalize(adapted_linear(self.proj_out, pooled.to(dtype), lora, "vision.proj_out").float(), dim=-1)


def _block(config: HeadsConfig, name: str) -> Block:
    wide = config.mlp_ratio * config.width
    attn, norms = SplitAttention(config.width, config.heads), (nn.LayerNorm(config.width), nn.LayerNorm(config.width))
    mlp = nn.Sequential(nn.Linear(config.width, wide), nn.GELU(), nn.Linear(wide, config.width))
    return Block(name, norms[0], attn, norms[1], mlp)


class TextHead(nn.Module):
    """Frozen sentence embedding [n, 512] -> shared space [n, dim], unit length: a linear map plus an MLP."""

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__()
        self.skip = nn.Linear(SENTENCE_DIM, config.dim, bias=False)
        self.mlp = nn.Sequential(
            nn.LayerNorm(SENTENCE_DIM),
            nn.Linear(SENTENCE_DIM, config.text_hidden),
            nn.GELU(),
            nn.Linear(config.text_hidden, config.dim),
        )
        self.last = f"text.mlp.{len(self.mlp) - 1}"
        nn.init.orthogonal_(self.skip.weight)
        for parameter in self.mlp[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, sentences: Tensor, lora: Lora | None = None) -> Tensor:
        return F.normalize(self.unnormalised(sentences, lora)[1].float(), dim=-1)

    def unnormalised(self, sentences: Tensor, lora: Lora | None = None) -> tuple[Tensor, Tensor]:
        """The inputs [n, hidden] of ``last``, and the texts [n, dim] before they are normalised."""
        keys = adapted_sequence(self.mlp[:-1], sentences, lora, "text.mlp")
        skipped = adapted_linear(self.skip, sentences, lora, "text.skip")
        return keys, skipped + adapted_linear(self.mlp[-1], keys, lora, self.last)
