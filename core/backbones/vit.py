"""Plain ViTs in two parts: a frozen stem, and the last blocks with separate q, k and v linears, which a LoRA adapts.

A ViT is plain if each block computes x + attention(norm(x)), then x + mlp(norm(x)), with softmax attention over dot products of
q and k. Two libraries have plain ViTs: open_clip (CLIP of OpenAI and LAION) and timm (SigLIP, SigLIP 2, MobileCLIP B and L).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.timm_model import TimmModel
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from timm.layers.attention import Attention
from timm.layers.mlp import Mlp
from timm.models import vision_transformer as timm_vit
from torch import Tensor, nn

from core.backbones.attention import last_blocks
from core.backbones.lora import Lora
from core.common.errors import BackboneError


@dataclass(frozen=True)
class PlainViT:
    """The parts of an image tower.

    Attributes:
        stem: from pixels [n, 3, h, w] to tokens [n, tokens, width], before the first block.
        blocks: the library's own. head: from tokens after the last block to embeddings [n, dim], not normalised.
        tokens: their number. special: how many of them stand before the patches. width, dim: of tokens and of embeddings.
        facts: settings that change embeddings but not weights, for the fingerprint.
    """

    stem: nn.Module
    blocks: Sequence[nn.Module]
    head: nn.Module
    tokens: int
    special: int
    width: int
    dim: int
    facts: dict[str, object]

    @staticmethod
    def of(visual: nn.Module) -> PlainViT:
        """Take an open_clip image tower apart. Raises BackboneError: when it is not a plain ViT."""
        if isinstance(visual, TimmModel):
            return _of_timm(visual)
        if isinstance(visual, VisionTransformer):
            return _of_open_clip(visual)
        raise BackboneError(f"Only plain ViT image towers are supported, not {type(visual).__name__}.")

    def prefix(self, cut: int) -> nn.Sequential:
        """The stem and the first ``cut`` blocks."""
        return nn.Sequential(self.stem, *self.blocks[:cut]).eval()


def _of_open_clip(visual: Any) -> PlainViT:
    if visual.attn_pool is not None or visual.pool_type not in ("tok", "avg"):
        pooling = "attention" if visual.attn_pool is not None else visual.pool_type
        raise BackboneError(f"Only plain ViT image towers are supported, not ones with {pooling} pooling.")
    blocks = list(visual.transformer.resblocks)
    if not all(isinstance(block, ResidualAttentionBlock) for block in blocks):
        raise BackboneError("Only plain ViT image towers are supported, not ones with custom attention blocks.")
    visual.transformer = nn.Identity()
    tokens, width = visual.positional_embedding.shape
    facts = _facts([visual.pool_type, visual.final_ln_after_pool], blocks[0].attn, blocks[0].mlp.gelu, blocks[0].ln_1)
    dim = width if visual.proj is None else visual.proj.shape[1]
    head = Step(visual, partial(_open_clip_head, visual))
    return PlainViT(Step(visual, visual._embeds), blocks, head, tokens, 1, width, dim, facts)


def _open_clip_head(visual: Any, x: Tensor) -> Tensor:
    """Final norm, pooling and projection."""
    pooled, _ = visual._pool(x)
    return pooled if visual.proj is None else pooled @ visual.proj


def _of_timm(visual: TimmModel) -> PlainViT:
    if type(visual.trunk) is not timm_vit.VisionTransformer:
        raise BackboneError(f"Only plain ViT image towers are supported, not timm's {type(visual.trunk).__name__}.")
    trunk: Any = visual.trunk
    blocks = list(trunk.blocks)
    if not all(_is_plain(block) for block in blocks):
        raise BackboneError("Only plain ViT image towers are supported, not ones with custom attention blocks.")
    if trunk.global_pool not in ("token", "avg", "map"):
        raise BackboneError(f"Only plain ViT image towers are supported, not ones with {trunk.global_pool or 'no'} pooling.")
    special, width = trunk.num_prefix_tokens, trunk.embed_dim
    tokens = trunk.patch_embed.num_patches + special
    head = nn.Sequential(trunk.norm, Step(trunk, trunk.forward_head), visual.head)
    trunk.blocks, trunk.norm = nn.Sequential(), nn.Identity()
    facts = _facts([trunk.global_pool, trunk.pool_include_prefix], blocks[0].attn, blocks[0].mlp.act, blocks[0].norm1)
    dim = head(torch.zeros(1, tokens, width, device=blocks[0].norm1.weight.device)).shape[1]
    return PlainViT(Step(trunk, trunk.forward_features), blocks, head, tokens, special, width, dim, facts)


def _facts(pool: list[object], attention: Any, activation: nn.Module, norm: Any) -> dict[str, object]:
    return {"pool": pool, "heads": attention.num_heads, "activation": type(activation).__name__, "eps": norm.eps}


def _is_plain(block: Any) -> bool:
    """Whether a block of timm's ViT computes the same as ``core.backbones.attention.Block``."""
    if (type(block), type(block.mlp), type(block.attn)) != (timm_vit.Block, Mlp, Attention) or block.attn.gate is not None:
        return False
    return all(type(norm) is nn.Identity for norm in (block.attn.q_norm, block.attn.k_norm, block.attn.norm))


class Step(nn.Module):
    """One step of an image tower, computed with the library's module."""

    def __init__(self, module: nn.Module, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.module, self.run = module, run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)


class AdaptedTower(nn.Module):
    """The adapted suffix: the last blocks of a ViT, its final norm, pooling and projection. ``adapt_blocks``: number of blocks
    (None: all). Raises BackboneError: when there are fewer."""

    def __init__(self, vit: PlainViT, adapt_blocks: int | None = None) -> None:
        super().__init__()
        self.blocks = last_blocks(vit.blocks, len(vit.blocks) if adapt_blocks is None else adapt_blocks, "vision")
        self.cut, self.head = len(vit.blocks) - len(self.blocks), vit.head
        self.dim, self.special, self.patches = vit.dim, vit.special, vit.tokens - vit.special

    def forward(self, prefix: Tensor, lora: Lora | None = None, keep: Tensor | None = None) -> Tensor:
        """From activations [n, special + patches, width] to unit-length embeddings [n, dim], with the LoRA applied. ``keep``:
        indexes of the patches to use (training only). Special tokens are always used."""
        x = prefix if keep is None else torch.cat([prefix[:, : self.special], prefix[:, self.special + keep]], 1)
        for block in self.blocks.values():
            x = block(x, lora)
        return F.normalize(self.head(x).float(), dim=-1)
