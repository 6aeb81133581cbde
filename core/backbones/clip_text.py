"""open_clip's text tower, run over no more tokens than there are words.

A text is padded to the context length (77 tokens for CLIP), a sentence has about ten. Under a causal mask no token looks at a
later one, and the embedding is read at the end token: what follows changes nothing and need not be computed.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TEXT_BATCH = 128
ENDS = ("argmax", "eos")  # pooling that reads a text at its end token, wherever it is


def text_tower(model: Any) -> nn.Module:
    """The text tower of an open_clip model, from token ids [n, context] on the CPU to unit-length embeddings [n, d] in
    float32, on the model's device.

    Causal towers that are read at the end token stop there; all others run as open_clip runs them. Modules are shared.
    """
    text = getattr(model, "text", model)  # newer models keep their text tower in a module of its own
    causal = getattr(text, "attn_mask", None) is not None and getattr(text, "cls_emb", None) is None
    return CausalText(text) if causal and _pooling(text) in ENDS else WholeText(model)


def _pooling(text: Any) -> str | None:
    return getattr(text, "text_pool_type", None) or getattr(text, "pool_type", None)


class WholeText(nn.Module):
    """Any text tower, over its whole context length."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self._encode = model, model.encode_text

    def forward(self, tokens: Tensor) -> Tensor:
        device = next(self.model.parameters()).device
        parts = tokens.split(TEXT_BATCH)
        return torch.cat([self._encode(part.to(device), normalize=True).float() for part in parts])


class CausalText(nn.Module):
    """A causal text tower as in CLIP, over the tokens up to the end of the longest text of a batch.

    Args:
        text: open_clip's ``CLIP`` or ``TextTransformer``, which name their parts alike.
    """

    attn_mask: Tensor

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.token_embedding, self.positional_embedding = text.token_embedding, text.positional_embedding
        self.transformer, self.ln_final, self.text_projection = text.transformer, text.ln_final, text.text_projection
        self.register_buffer("attn_mask", text.attn_mask, persistent=False)
        self.eos = None
        if _pooling(text) == "eos":
            self.eos = text.text_eos_id if hasattr(text, "text_eos_id") else text.eos_id

    def forward(self, tokens: Tensor) -> Tensor:
        # The end token has the highest id of all, unless the model says which it is.
        ends = tokens.argmax(-1) if self.eos is None else tokens.eq(self.eos).int().argmax(-1)
        order = ends.argsort()  # texts of one length share a batch
        out = [self._encode(tokens[part], ends[part]) for part in order.split(TEXT_BATCH)]
        return torch.cat(out)[order.argsort().to(out[0].device)]

    def _encode(self, tokens: Tensor, ends: Tensor) -> Tensor:
        length = int(ends.max()) + 1
        device = self.positional_embedding.device  # how long texts are is known without asking a GPU
        x = self.token_embedding(tokens[:, :length].to(device)) + self.positional_embedding[:length]  # [n, length, width]
        x = self.transformer(x, attn_mask=self.attn_mask[:length, :length])
        x = self.ln_final(x[torch.arange(len(x), device=device), ends.to(device)])  # [n, width], at the end token
        if isinstance(self.text_projection, nn.Linear):
            x = self.text_projection(x)
        elif self.text_projection is not None:
            x = x @ self.text_projection
        return F.normalize(x.float(), dim=-1)
