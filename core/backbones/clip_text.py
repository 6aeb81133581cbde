"""open_clip's text tower without padding. A LoRA can adapt its last blocks and its projection.

Texts are padded to the context length (77 tokens for CLIP), but a sentence has about ten tokens. Under a causal mask, no token
sees later ones, and the embedding is read at one token, mostly the end token. So later tokens need not be computed.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from core.backbones.attention import adapted_linear, last_blocks
from core.backbones.lora import Lora
from core.common.errors import BackboneError

TEXT_BATCH = 128
ADAPTED_BLOCKS = 2  # default for text towers


def text_tower(model: Any, adapts: bool = False, adapt_blocks: int | None = None) -> ClipText:
    """The text tower of an open_clip model. It shares the model's modules, on their device.

    ``adapts``: whether a LoRA can adapt its last blocks; ``adapt_blocks``: how many (None: ADAPTED_BLOCKS). Raises
    BackboneError: when the tower is not a plain transformer, or has fewer blocks.
    """
    text = getattr(model, "text", model)  # newer models have a separate module for the text tower
    if not _is_plain(text):
        raise BackboneError(f"Only plain text towers of open_clip are supported, not {type(text).__name__}.")
    if not adapts:
        return ClipText(text, nn.ModuleDict())
    blocks = list(text.transformer.resblocks)
    if not all(type(block) is ResidualAttentionBlock for block in blocks):
        raise BackboneError("LoRAs cannot adapt the texts of a model with custom attention blocks: leave out --adapt texts.")
    count = min(ADAPTED_BLOCKS, len(blocks)) if adapt_blocks is None else adapt_blocks
    return ClipText(text, last_blocks(blocks, count, "text"))


def _is_plain(text: Any) -> bool:
    """Whether a tower computes the same as ``ClipText``."""
    if not hasattr(getattr(text, "transformer", None), "resblocks") or getattr(text, "cls_emb", None) is not None:
        return False
    return not getattr(text, "use_pad_mask", False) and _pooling(text) in ("first", "last", "argmax", "eos")


def _pooling(text: Any) -> str | None:
    return getattr(text, "text_pool_type", None) or getattr(text, "pool_type", None)


class ClipText(nn.Module):
    """A text tower as in CLIP (causal) or SigLIP (not causal). A LoRA can adapt the last ``blocks``, if any. ``text``:
    open_clip's ``CLIP`` or ``TextTransformer``, whose parts have the same names."""

    attn_mask: Tensor | None

    def __init__(self, text: Any, blocks: nn.ModuleDict) -> None:
        super().__init__()
        self.token_embedding, self.positional_embedding = text.token_embedding, text.positional_embedding
        self.frozen, self.blocks = text.transformer.resblocks[: len(text.transformer.resblocks) - len(blocks)], blocks
        self.ln_final, self.projection = text.ln_final, _linear(text.text_projection)
        self.last = None if self.projection is None else "text.projection"
        self.register_buffer("attn_mask", getattr(text, "attn_mask", None), persistent=False)
        self.pooling = _pooling(text)
        self.eos = text.text_eos_id if hasattr(text, "text_eos_id") else text.eos_id

    def forward(self, tokens: Tensor, lora: Lora | None = None) -> Tensor:
        """From token ids [n, context] to unit-length embeddings [n, d], with the LoRA applied."""
        return F.normalize(self.unnormalised(tokens, lora)[1].float(), dim=-1)

    def unnormalised(self, tokens: Tensor, lora: Lora | None = None) -> tuple[Tensor, Tensor]:
        """The inputs [n, width] of ``last``, and the texts [n, d] before they are normalised."""
        places = self._places(tokens)
        order = places.argsort()  # texts of similar length share a batch
        parts = [self._encode(tokens[part], places[part], lora) for part in order.split(TEXT_BATCH)]
        keys, out = (torch.cat(part) for part in zip(*parts, strict=True))
        back = order.argsort().to(out.device)
        return keys[back], out[back]

    def _places(self, tokens: Tensor) -> Tensor:
        """The positions [n] at which embeddings are read."""
        if self.pooling == "eos":
            return tokens.eq(self.eos).int().argmax(-1)
        if self.pooling == "argmax":  # the end token has the highest id
            return tokens.argmax(-1)
        return torch.full((len(tokens),), 0 if self.pooling == "first" else tokens.shape[1] - 1, device=tokens.device)

    def _encode(self, tokens: Tensor, places: Tensor, lora: Lora | None) -> tuple[Tensor, Tensor]:
        length = tokens.shape[1] if self.attn_mask is None else int(places.max()) + 1
        mask = None if self.attn_mask is None else self.attn_mask[:length, :length]
        device = self.positional_embedding.device
        x = self.token_embedding(tokens[:, :length].to(device)) + self.positional_embedding[:length]  # [n, length, width]
        for block in self.frozen:
            x = block(x, attn_mask=mask)
        for block in self.blocks.values():
            x = block(x, lora, mask)
        x = self.ln_final(x[torch.arange(len(x), device=device), places.to(device)])  # [n, width]
        return x, x if self.projection is None else adapted_linear(self.projection, x, lora, "text.projection")


def _linear(projection: nn.Linear | Tensor | None) -> nn.Linear | None:
    """Convert a projection to a linear. Some open_clip models have a matrix [width, d] instead."""
    if projection is None or isinstance(projection, nn.Linear):
        return projection
    with torch.device("meta"):  # draws no random numbers
        linear = nn.Linear(*projection.shape, bias=False)
    linear.weight = nn.Parameter(projection.detach().T.contiguous(), requires_grad=False)
    return linear
