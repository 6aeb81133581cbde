"""A visitor's request: a sentence, and the numbers that decide which LoRA it becomes."""

from dataclasses import dataclass

from core.common.errors import DescriptionError
from core.common.text import clean_text

DEFAULT_K, DEFAULT_TAU = 4, 0.1
MAX_STRENGTH = 4.0  # if it scales the weight change
DEFAULT_WEIGHT = 0.8  # of adapted scores, if they are mixed with zero-shot scores; chosen on validation photos


@dataclass(frozen=True)
class AdapterRequest:
    """The request for one adapter. Raises DescriptionError: when the description is empty or too long, k is no whole number
    above 0, or tau is not above 0, at most 1. ``SGLora.check`` knows the other limits."""

    description: str  # what the photos show; trimmed
    k: int = DEFAULT_K  # number of routed experts
    tau: float = DEFAULT_TAU  # temperature of their softmax weights
    seed: int = 0  # of the sample z
    # How much of the adapter is applied: 0 is zero-shot, 1 is as generated, None is the default (``SGLora.usual_strength``). If
    # photos are indexed without and with the shared LoRA, it mixes scores (0 to 1). Otherwise it scales the weight change.
    strength: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "description", clean_text(self.description))
        if not (self.k >= 1 and self.k % 1 == 0):
            raise DescriptionError("k is {k:g}: give a whole number, at least one expert.", k=self.k)
        if not 0 < self.tau <= 1:
            raise DescriptionError("tau is {tau:g}: the temperature must be above 0, at most 1.", tau=self.tau)
        object.__setattr__(self, "k", int(self.k))
