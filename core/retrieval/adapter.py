"""An adapter as search sees it: a LoRA, or none, how much its scores count, and a key to remember results by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from core.backbones.lora import Lora
from core.common.digest import digest
from core.common.errors import AdapterError


@dataclass(frozen=True)
class Adapter:
    """What a search is adapted with. Two adapters are equal when their keys are."""

    key: str  # changes with any number in the LoRA and with the weight
    lora: Lora | None = field(compare=False)  # None for zero-shot
    # w in score = (1 - w) zero-shot + w adapted. Below 1 only where photos are indexed under both, or left alone.
    weight: float = field(default=1.0, compare=False)
    # What reads the question in zero-shot's part of the score: names that were taught; None for the frozen model.
    base: Lora | None = field(default=None, compare=False)

    @staticmethod
    def of(lora: Lora, weight: float = 1.0, base: Lora | None = None) -> Adapter:
        """The adapter of a LoRA, keyed by the hash of its factors, the weight, and whether there is a base; of weight 0 it is
        ``ZERO_SHOT``. Raises AdapterError: the weight is not between 0 and 1."""
        if not 0 <= weight <= 1:
            raise AdapterError(f"The weight of an adapter is between 0 and 1, not {weight:g}.")
        if weight == 0:
            return ZERO_SHOT
        content = digest(" ".join(f"{name} {lora.factors[name].digest}" for name in sorted(lora.factors)))
        mixed = "" if weight == 1 else f"-{weight!r}"
        return Adapter(f"{content[:32]}{mixed}{'' if base is None else '-named'}", lora, weight, base)

    def with_names(self, on: Callable[[Lora | None], Lora | None]) -> Adapter:
        """The adapter with names taught to it, and to zero-shot's part of its score; ``on``: as ``TaughtNames.on``."""
        lora = on(self.lora)
        return self if lora is None else Adapter.of(lora, self.weight, on(None))

    @property
    def named(self) -> bool:
        """Whether names were taught to it."""
        return self.base is not None

    @property
    def moves_photos(self) -> bool:
        """Whether photos have other embeddings with it than zero-shot."""
        return self.lora is not None and self.lora.moves_photos


ZERO_SHOT = Adapter("zero-shot", None)


def finite(embeddings: Tensor) -> Tensor:
    """The embeddings as they are; raises AdapterError where they hold NaN or infinite numbers."""
    if not bool(torch.isfinite(embeddings).all()):
        raise AdapterError("This adapter gives numbers that are not finite: use a lower strength or another one.")
    return embeddings
