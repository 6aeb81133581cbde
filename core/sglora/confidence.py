"""How likely is it that adapting helps? A confidence in a description, from how its nearest experts came out.

The paper's reviews ask for a way to say that no expert fits. Each expert was once left out, its own description routed to
the others and their merge tried on its own photos (``core.training.confidence``). Two facts about a routing predict what
that gained: how close the routed experts are, and what leaving experts of *their* groups out gained. A line through these
points, with its spread, gives the chance of a gain; the strength of the adapter follows it down to zero-shot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import erf, sqrt
from typing import Any

import torch
from torch import Tensor

from core.sglora.router import Routing

FLOOR, FULL = 0.5, 0.7


@dataclass(frozen=True)
class Confidence:
    """What can be said about a description before any photo was seen.

    Attributes:
        closeness: weighted cosine similarity of the routed experts.
        transfer: weighted gain that was measured when experts of the routed experts' groups were left out, in points.
        gain: expected gain over zero-shot in points: mean of R@1 and R@5, both directions. spread: its standard deviation.
        fits: False where the sentence is further from the experts than any that the calibration tried, or no closer than
            sentences that are about no photos at all.
        probability: that adapting helps; 0 where no expert fits.
        strength: how much of a generated LoRA to apply; 0 recommends zero-shot.
    """

    closeness: float
    transfer: float
    gain: float
    spread: float
    fits: bool
    probability: float
    strength: float


@dataclass(frozen=True)
class ConfidenceModel:
    """gain = bias + closeness * x1 + transfer * x2, give or take ``spread``; both slopes are 0 or more.

    Attributes:
        lowest: closeness below which no expert fits.
        points: number of left-out experts behind it.
    """

    bias: float
    closeness: float
    transfer: float
    spread: float
    lowest: float
    points: int

    def judge(self, routing: Routing, transfers: Tensor) -> Confidence:
        """The confidence in a routed description.

        Args:
            transfers: [n] of every expert of the repository, in points.
        """
        closeness, transfer = evidence(routing, transfers)
        gain = self.bias + self.closeness * closeness + self.transfer * transfer
        fits = closeness >= self.lowest
        probability = _normal(gain / self.spread) if fits else 0.0
        strength = min(max((probability - FLOOR) / (FULL - FLOOR), 0.0), 1.0)
        return Confidence(closeness, transfer, gain, self.spread, fits, probability, strength)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def of(raw: Mapping[str, Any]) -> ConfidenceModel:
        """From what ``as_dict`` gave.

        Raises:
            ValueError, TypeError, KeyError: it is invalid.
        """
        values = {name: float(raw[name]) for name in ("bias", "closeness", "transfer", "spread", "lowest")}
        if not all(abs(v) < 1e6 for v in values.values()) or values["spread"] <= 0:
            raise ValueError("an invalid confidence")
        return ConfidenceModel(**values, points=int(raw["points"]))


def evidence(routing: Routing, transfers: Tensor) -> tuple[float, float]:
    """What predicts a gain: closeness and transfer of the routed experts, weighted as they are routed."""
    weights, chosen = routing.weights, routing.chosen
    return float(weights @ routing.similarity[chosen]), float(weights @ transfers[chosen])


def known_transfers(transfers: Sequence[float | None]) -> Tensor:
    """[n]; an expert that was never left out counts as an average one."""
    known = [t for t in transfers if t is not None]
    mean = sum(known) / len(known) if known else 0.0
    return torch.tensor([mean if t is None else t for t in transfers], dtype=torch.float32)


def _normal(x: float) -> float:
    """Cumulative distribution of the standard normal."""
    return 0.5 * (1 + erf(x / sqrt(2)))
