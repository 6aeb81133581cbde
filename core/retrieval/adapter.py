"""An adapter for search: a LoRA or None, the weight of its scores, and a key for caches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from core.backbones.lora import Lora
from core.common.errors import AdapterError


@dataclass(frozen=True)
class Adapter:
    """The adapter of a search. Two adapters are equal if their keys are equal."""

    key: str  # changes with any number in the LoRA and with the weight
    lora: Lora | None = field(compare=False)  # None for zero-shot
    # w in score = (1 - w) zero-shot + w adapted. Below 1 only if photos are indexed both ways, or the LoRA keeps photos as is.
    weight: float = field(default=1.0, compare=False)
    # The LoRA for the question in the zero-shot part of the score: taught names. None: the frozen model.
    base: Lora | None = field(default=None, compare=False)

    @staticmethod
    def of(lora: Lora, weight: float = 1.0, base: Lora | None = None) -> Adapter:
        """The adapter of a LoRA. Its key: the hash of the factors, the weight, and whether there is a base. Weight 0 gives
        ``ZERO_SHOT``. Raises AdapterError: when the weight is not between 0 and 1."""
        if not 0 <= weight <= 1:
            raise AdapterError(f"The weight of an adapter is between 0 and 1, not {weight:g}.")
        if weight == 0:
            return ZERO_SHOT
        mixed = "" if weight == 1 else f"-{weight!r}"
        return Adapter(f"{lora.digest[:32]}{mixed}{'' if base is None else '-named'}", lora, weight, base)

    def with_names(self, on: Callable[[Lora | None], Lora | None]) -> Adapter:
        """Add taught names to the adapter and to the zero-shot part of its score. ``on``: as ``TaughtNames.on``."""
        lora = on(self.lora)
        return self if lora is None else Adapter.of(lora, self.weight, on(None))

    @property
    def named(self) -> bool:
        return self.base is not None

    @property
    def moves_photos(self) -> bool:
        return self.lora is not None and self.lora.moves_photos


ZERO_SHOT = Adapter("zero-shot", None)


def finite(embeddings: Tensor) -> Tensor:
    """Return the embeddings unchanged. Raises AdapterError: when they hold NaN or infinite numbers."""
    if not bool(torch.isfinite(embeddings).all()):
        raise AdapterError("This adapter gives infinite or invalid scores: use a lower strength or another adapter.")
    return embeddings
