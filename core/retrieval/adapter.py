"""An adapter for search: a LoRA or None, the weight of its scores, and a key for caches."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from core.backbones.lora import Lora
from core.common.errors import AdapterError
from core.names.teach import TaughtNames


@dataclass(frozen=True)
class Adapter:
    """The adapter of a search. Two adapters are equal if their keys and names are equal."""

    key: str  # changes with any number in the LoRA and with the weight
    lora: Lora | None = field(compare=False)  # None for zero-shot
    # w in score = (1 - w) zero-shot + w adapted. Below 1 only if photos are indexed both ways, or the LoRA keeps photos as is.
    weight: float = field(default=1.0, compare=False)
    # Taught names, for texts that contain them, in both parts of the score.
    names: TaughtNames | None = None

    @staticmethod
    def of(lora: Lora, weight: float = 1.0) -> Adapter:
        """The adapter of a LoRA. Its key: the hash of the factors, and the weight. Weight 0 gives ``ZERO_SHOT``. Raises
        AdapterError: when the weight is not between 0 and 1."""
        if not 0 <= weight <= 1:
            raise AdapterError(f"The weight of an adapter is between 0 and 1, not {weight:g}.")
        if weight == 0:
            return ZERO_SHOT
        mixed = "" if weight == 1 else f"-{weight!r}"
        return Adapter(f"{lora.digest[:32]}{mixed}", lora, weight)

    def with_names(self, names: TaughtNames) -> Adapter:
        """Add taught names: texts that do not contain them are read as before."""
        return replace(self, names=names) if names.entries else self

    @property
    def moves_photos(self) -> bool:
        return self.lora is not None and self.lora.moves_photos


ZERO_SHOT = Adapter("zero-shot", None)


def finite(embeddings: Tensor) -> Tensor:
    """Return the embeddings unchanged. Raises AdapterError: when they hold NaN or infinite numbers."""
    if not bool(torch.isfinite(embeddings).all()):
        raise AdapterError("This adapter gives infinite or invalid scores: use a lower strength or another adapter.")
    return embeddings
