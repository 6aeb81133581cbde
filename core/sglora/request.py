"""A visitor's request: a sentence, and the numbers that decide which LoRA it becomes."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from core.common.errors import DescriptionError, brief
from core.common.text import clean_text

DEFAULT_K, DEFAULT_TAU = 4, 0.1
MAX_STRENGTH = 4.0  # if it scales the weight change
DEFAULT_WEIGHT = 0.8  # of adapted scores, if they are mixed with zero-shot scores; chosen on validation photos

NO_WEIGHT = "“{text}” is no weight of an expert: give its name, = and a number of 0 or more, such as “dog=0.7”."
NO_EXPERT = "{n} experts have a weight above 0: give 1 to {most} experts such a weight."
Weights = Mapping[str, float]  # by an expert's name or description
MAX_WEIGHTS = 16  # experts with a weight by hand


@dataclass(frozen=True)
class AdapterRequest:
    """The request for one adapter. Raises DescriptionError: when the description is empty or too long, k is no whole number
    above 0, tau is not above 0, at most 1, or weights cannot be used. ``SGLora.check`` knows the other limits."""

    description: str  # what the photos show; trimmed
    k: int = DEFAULT_K  # number of routed experts
    tau: float = DEFAULT_TAU  # temperature of their softmax weights
    seed: int = 0  # of the sample z
    # How much of the adapter is applied: 0 is zero-shot, 1 is as generated, None is the default (``SGLora.usual_strength``). If
    # photos are indexed without and with the shared LoRA, it mixes scores (0 to 1). Otherwise it scales the weight change.
    strength: float | None = None
    weights: Weights = field(default_factory=dict)  # in the place of the routing's; scaled to sum to 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "description", clean_text(self.description))
        if not (self.k >= 1 and self.k % 1 == 0):
            raise DescriptionError("k is {k:g}: give a whole number, at least one expert.", k=self.k)
        if not 0 < self.tau <= 1:
            raise DescriptionError("tau is {tau:g}: the temperature must be above 0, at most 1.", tau=self.tau)
        object.__setattr__(self, "k", int(self.k))
        for name, weight in self.weights.items():
            if not 0 <= weight < math.inf:
                raise DescriptionError(NO_WEIGHT, text=brief(f"{name}={weight:g}"))
        positive = sum(weight > 0 for weight in self.weights.values())
        if self.weights and not 1 <= positive <= MAX_WEIGHTS:
            raise DescriptionError(NO_EXPERT, n=positive, most=MAX_WEIGHTS)


def read_weights(lines: Iterable[str]) -> dict[str, float]:
    """The weights by expert, from lines such as “dog=0.7”. Raises DescriptionError: when a line has no name or no number."""
    weights = dict[str, float]()
    for line in filter(str.strip, lines):
        name, _, number = line.rpartition("=")
        try:
            weights[name.strip()] = float(number)
        except ValueError:
            raise DescriptionError(NO_WEIGHT, text=brief(line)) from None
    return weights


def written_weights(weights: Weights) -> list[str]:
    """The inverse of ``read_weights``."""
    return [f"{name}={weight:g}" for name, weight in weights.items()]
