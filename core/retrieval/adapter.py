"""An adapter as search sees it: a LoRA, or none, with a key to remember results by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from core.backbones.lora import Lora


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
        digest = hashlib.sha256()
        for name, factors in sorted(lora.factors.items()):
            for part in (factors.a, factors.b):
                digest.update(f"{name} {tuple(part.shape)} ".encode())
                digest.update(part.detach().float().cpu().contiguous().numpy().tobytes())
        return Adapter(digest.hexdigest()[:32], lora)


ZERO_SHOT = Adapter("zero-shot", None)
