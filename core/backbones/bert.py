"""BERT (arXiv 1810.04805) as far as a sentence encoder needs it, over the weights of Hugging Face's ``BertModel``.

It is here because importing transformers for this one model takes longer than loading and running it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# From the names of Hugging Face to those below; what no pattern fits (the pooler) is left out.
_NAMES = (
    (r"embeddings\.(word|position|token_type)_embeddings\.(.*)", r"\1.\2"),
    (r"embeddings\.LayerNorm\.(.*)", r"norm.\1"),
    (r"encoder\.layer\.(\d+)\.attention\.self\.(query|key|value)\.(.*)", r"layers.\1.\2.\3"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(.*)", r"layers.\1.out.\2"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.(.*)", r"layers.\1.norm1.\2"),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.(.*)", r"layers.\1.up.\2"),
    (r"encoder\.layer\.(\d+)\.output\.dense\.(.*)", r"layers.\1.down.\2"),
    (r"encoder\.layer\.(\d+)\.output\.LayerNorm\.(.*)", r"layers.\1.norm2.\2"),
)


class BertLayer(nn.Module):
    """Post-norm transformer layer over x [n, t, width]."""

    def __init__(self, width: int, heads: int, hidden: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.query, self.key, self.value))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        x = self.norm1(x + self.out(attended))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Bert(nn.Module):
    """Token ids [n, t] and their mask [n, t] bool (None: all count) to hidden states [n, t, width].

    Args:
        config: of ``BertModel``: ``hidden_size``, ``num_attention_heads``, ``intermediate_size``, ``num_hidden_layers``,
            ``vocab_size``, ``max_position_embeddings``, ``type_vocab_size``, ``layer_norm_eps``.
    """

    def __init__(self, config: Mapping[str, int | float]) -> None:
        super().__init__()
        width, eps = int(config["hidden_size"]), float(config["layer_norm_eps"])
        self.word, self.position, self.token_type = (
            nn.Embedding(int(config[size]), width, _weight=torch.empty(int(config[size]), width))  # see ``of``
            for size in ("vocab_size", "max_position_embeddings", "type_vocab_size")
        )
        self.norm = nn.LayerNorm(width, eps)
        heads, hidden = int(config["num_attention_heads"]), int(config["intermediate_size"])
        self.layers = nn.ModuleList(BertLayer(width, heads, hidden, eps) for _ in range(int(config["num_hidden_layers"])))

    @staticmethod
    def of(config: Path, weights: Mapping[str, Tensor]) -> Bert:
        """From a ``config.json`` and the tensors of ``BertModel``.

        Raises:
            RuntimeError: tensors are missing or of another shape.
        """
        # Nothing is drawn at random that the weights replace; for embeddings, torch would load its compiler to do so (1 s).
        with torch.device("meta"):
            model = Bert(json.loads(config.read_text()))
        named = {}
        for name, tensor in weights.items():
            for pattern, replacement in _NAMES:
                if (match := re.fullmatch(pattern, name)) is not None:
                    named[match.expand(replacement)] = tensor
        model.load_state_dict(named, assign=True)
        return model

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.word(ids) + self.position.weight[: ids.shape[1]] + self.token_type.weight[0]
        x = self.norm(x)
        attended = None if mask is None else mask[:, None, None, :]
        for layer in self.layers:
            x = layer(x, attended)
        return x
