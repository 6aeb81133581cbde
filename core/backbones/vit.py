"""Plain ViTs cut in two: a frozen stem, and the last blocks with q, k and v as linears of their own, which a LoRA adapts.

A ViT is plain where all its blocks are x + attention(norm(x)), then x + mlp(norm(x)), and the attention is softmax over dot
products of q, k and v. Two libraries have them: open_clip (CLIP as OpenAI and LAION trained it) and timm (SigLIP, SigLIP 2,
MobileCLIP's B and L).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.timm_model import TimmModel
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from timm.layers.attention import Attention
from timm.layers.mlp import Mlp
from timm.models import vision_transformer as timm_vit
from torch import Tensor, nn

from core.backbones.adapted_block import AdaptedBlock
from core.backbones.attention import PROJECTIONS
from core.backbones.lora import Lora
from core.common.errors import BackboneError

LORA_RANK = 2


@dataclass(frozen=True)
class PlainViT:
    """The parts of an image tower.

    Attributes:
        stem: pixels [n, 3, h, w] to tokens [n, tokens, width], before the first block.
        blocks: as the library has them. head: tokens after the last block to embeddings [n, dim], not yet of unit length.
        tokens: how many. special: how many of them stand before the patches. width, dim: of tokens and of embeddings.
        facts: what changes embeddings without showing in weights, for the fingerprint.
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
        """The parts of an open_clip image tower, whose modules are shared; one of timm's is taken apart.

        Raises:
            BackboneError: it is no plain ViT; the text says why.
        """
        if isinstance(visual, TimmModel):
            return _of_timm(visual)
        if isinstance(visual, VisionTransformer):
            return _of_open_clip(visual)
        raise BackboneError(f"Only plain ViT image towers are supported, not {type(visual).__name__}.")

    def prefix(self, cut: int) -> nn.Sequential:
        """Stem and first ``cut`` blocks."""
        return nn.Sequential(self.stem, *self.blocks[:cut]).eval()


def _of_open_clip(visual: Any) -> PlainViT:
    if visual.attn_pool is not None or visual.pool_type not in ("tok", "avg"):
        kind = "attention" if visual.attn_pool is not None else visual.pool_type
        raise BackboneError(f"Only plain ViT image towers are supported, not ones with {kind} pooling.")
    blocks = [block for block in visual.transformer.resblocks if isinstance(block, ResidualAttentionBlock)]
    if len(blocks) != len(visual.transformer.resblocks):
        raise BackboneError("Only plain ViT image towers are supported, not ones with custom attention blocks.")
    tokens, width = visual.positional_embedding.shape
    dim = width if visual.proj is None else visual.proj.shape[1]
    facts = {
        "pool": [visual.pool_type, visual.final_ln_after_pool],
        "activation": type(blocks[0].mlp.gelu).__name__,
        "eps": blocks[0].ln_1.eps,
    }
    return PlainViT(OpenClipStem(visual), blocks, OpenClipHead(visual), tokens, 1, width, dim, facts)


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
    head = TimmHead(visual)
    dim = head(torch.zeros(1, tokens, width, device=blocks[0].norm1.weight.device)).shape[1]
    facts = {
        "pool": [trunk.global_pool, trunk.pool_include_prefix],
        "activation": type(blocks[0].mlp.act).__name__,
        "eps": blocks[0].norm1.eps,
    }
    # What is left of the trunk are its patches, its special tokens and its positions.
    trunk.blocks, trunk.attn_pool = nn.Sequential(), None
    trunk.norm = trunk.fc_norm = trunk.head = nn.Identity()
    return PlainViT(TimmStem(trunk), blocks, head, tokens, special, width, dim, facts)


def _is_plain(block: Any) -> bool:
    """Whether a block of timm's ViT computes what ``AdaptedBlock`` does."""
    if (type(block), type(block.mlp), type(block.attn)) != (timm_vit.Block, Mlp, Attention) or block.attn.gate is not None:
        return False
    return all(type(norm) is nn.Identity for norm in (block.attn.q_norm, block.attn.k_norm, block.attn.norm))


class OpenClipStem(nn.Module):
    """Patch embedding, class token and positions of open_clip's ViT."""

    def __init__(self, visual: VisionTransformer) -> None:
        super().__init__()
        self.conv1 = visual.conv1
        self.class_embedding = visual.class_embedding
        self.positional_embedding = visual.positional_embedding
        self.ln_pre = visual.ln_pre

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels [n, 3, h, w] to tokens [n, 1 + patches, width]."""
        x = self.conv1(pixels).flatten(2).transpose(1, 2)  # [n, patches, width]
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        return self.ln_pre(x)


class OpenClipHead(nn.Module):
    """Final norm, pooling and projection of open_clip's ViT."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.pool_type, self.norm_last = visual.pool_type, visual.final_ln_after_pool
        self.ln_post, self.proj = visual.ln_post, visual.proj

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [n, 1 + patches, width] to embeddings [n, dim]."""
        pooled = self.ln_post(self._pool(x)) if self.norm_last else self._pool(self.ln_post(x))
        return pooled if self.proj is None else pooled @ self.proj

    def _pool(self, x: Tensor) -> Tensor:
        return x[:, 0] if self.pool_type == "tok" else x[:, 1:].mean(1)


class TimmStem(nn.Module):
    """A ViT of timm without its blocks and what follows them."""

    def __init__(self, trunk: timm_vit.VisionTransformer) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels [n, 3, h, w] to tokens [n, special + patches, width]."""
        return self.trunk.forward_features(pixels)


class TimmHead(nn.Module):
    """Final norm, pooling (by class token, mean, or attention as in SigLIP) and projection of a ViT of timm."""

    def __init__(self, visual: TimmModel) -> None:
        super().__init__()
        trunk: Any = visual.trunk
        self.norm, self.attn_pool, self.fc_norm = trunk.norm, trunk.attn_pool, trunk.fc_norm
        self.proj = nn.Sequential(trunk.head, visual.head)
        self.pool_type, self.special = trunk.global_pool, 0 if trunk.pool_include_prefix else trunk.num_prefix_tokens

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [n, special + patches, width] to embeddings [n, dim]."""
        x = self.norm(x)
        if self.pool_type == "token":
            pooled = x[:, 0]
        else:
            x = x[:, self.special :]
            pooled = x.mean(1) if self.attn_pool is None else self.attn_pool(x)
        return self.proj(self.fc_norm(pooled))


class AdaptedTower(nn.Module):
    """The adapted suffix: the last blocks of a ViT, its final norm, pooling and projection.

    Blocks keep their number in the whole tower, so that an adapter of the last two cannot pass for one of the first two.

    Args:
        vit: its modules are shared, only the attention's weights are copied.
        adapt_blocks: how many blocks at the end are adapted (None: all).

    Raises:
        BackboneError: more blocks than there are.
    """

    def __init__(self, vit: PlainViT, adapt_blocks: int | None = None) -> None:
        super().__init__()
        count = len(vit.blocks)
        adapt_blocks = count if adapt_blocks is None else adapt_blocks
        if not 1 <= adapt_blocks <= count:
            raise BackboneError(f"adapt_blocks is {adapt_blocks}: this image tower has 1 to {count} blocks to adapt.")
        self.cut = count - adapt_blocks
        self.width, self.dim, self.special, self.patches = vit.width, vit.dim, vit.special, vit.tokens - vit.special
        self.blocks = nn.ModuleDict({str(i): AdaptedBlock(vit.blocks[i], f"vision.blocks.{i}") for i in range(self.cut, count)})
        self.head = vit.head

    @property
    def heads(self) -> int:
        """Of the attention."""
        return next(block.attn.heads for block in self.blocks.values() if isinstance(block, AdaptedBlock))

    def forward(self, prefix: Tensor, lora: Lora | None = None, keep: Tensor | None = None) -> Tensor:
        """Activations [n, special + patches, width] to unit-length embeddings [n, dim], with the LoRA applied.

        ``keep`` holds the indexes of the patches to look at (training only); a class token always stays.
        """
        x = prefix if keep is None else torch.cat([prefix[:, : self.special], prefix[:, self.special + keep]], 1)
        for block in self.blocks.values():
            x = block(x, lora)
        return F.normalize(self.head(x).float(), dim=-1)

    @property
    def usual(self) -> list[str]:
        """The linears of the paper's LoRA, as ``Backbone.adapted`` names them: q, k and v of every adapted block (110,592
        parameters for all of ViT-B/16 at rank 2)."""
        return [f"vision.blocks.{i}.attn.{part}" for i in self.blocks for part in PROJECTIONS]
