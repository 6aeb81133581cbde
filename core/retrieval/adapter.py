"""An adapter as search sees it: a LoRA, or none, with a key to remember results by."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from core.backbones.lora import Lora
from core.common.digest import tensors_digest
from core.common.errors import AdapterError


@dataclass(frozen=True)
class Adapter:
    """What a search is adapted with: a LoRA, or none.

    Attributes:
        key: changes with any number in the LoRA; two adapters are equal when their keys are.
        lora: None for zero-shot.
    """

    key: str
    lora: Lora | None = field(compare=False)

    @staticmethod
    def of(lora: Lora) -> Adapter:
        """The adapter of a LoRA, its key the hash of the factors."""
        factors = {f"{name}.{x}": part for name, pair in lora.factors.items() for x, part in (("a", pair.a), ("b", pair.b))}
        return Adapter(tensors_digest(factors)[:32], lora)

    @property
    def moves_photos(self) -> bool:
        """Whether photos have other embeddings with it than zero-shot."""
        return self.lora is not None and self.lora.moves_photos


ZERO_SHOT = Adapter("zero-shot", None)


def finite(embeddings: Tensor) -> Tensor:
    """The embeddings as they are.

    Raises:
        AdapterError: they hold NaN or infinite numbers.
    """
    if not bool(torch.isfinite(embeddings).all()):
        raise AdapterError("This adapter gives numbers that are not finite: use a lower strength or another one.")
    return embeddings
