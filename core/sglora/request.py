"""What a visitor asks for: a sentence, and the few numbers that decide which LoRA it becomes."""

from __future__ import annotations

from dataclasses import dataclass, replace

DEFAULT_K, DEFAULT_TAU = 4, 0.1
DEFAULT_WEIGHT = 0.8  # of an adapter's scores, where they are mixed with zero-shot's; chosen on watched photos

# Sentences that describe no photos.
RANDOM = ("quarterly financial report", "the sound of a violin", "a mathematical proof", "tax law in the nineteenth century")


@dataclass(frozen=True)
class AdapterRequest:
    """One adapter."""

    description: str  # what the photos show
    k: int = DEFAULT_K  # how many experts it is routed to
    tau: float = DEFAULT_TAU  # temperature of their softmax weights
    seed: int = 0  # of the sample z
    # How much of the adapter is applied: 0 is zero-shot, 1 as generated, None what is usual (``SGLora.usual_strength``). Where
    # photos are indexed without and with the shared part it mixes scores, 0 to 1; else it scales the weight change.
    strength: float | None = None

    def with_random_sentence(self) -> AdapterRequest:
        """The control for what a sentence adds: one about something else, always the same one for the same words
        and seed."""
        return replace(self, description=RANDOM[(len(self.description) + self.seed) % len(RANDOM)])
