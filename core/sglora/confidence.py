"""How likely it is that adapting to a description helps, and how much of an adapter to apply.

The gain over zero-shot is predicted by a line through tasks that were left out with their whole topic or domain: how close the
routed experts are, and what was gained on their own photos by experts of other topics. What is uncertain is mixed, not
switched: the less sure a gain is, the less of the experts' own parts is applied, down to what all experts share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, sqrt
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from core.common.schema import Count, Figure
from core.sglora.router import Routing

# From an even chance (no own parts) to this one (all of them).
EVEN, SURE = 0.5, 0.7
RELIABLE = 0.4  # rank correlation with measured gains from which a percentage may be shown


@dataclass(frozen=True)
class Confidence:
    """What can be said about a description before any photo was seen.

    Attributes:
        closeness: weighted cosine similarity of the routed experts.
        transfer: weighted gain on the routed experts' photos by experts of other topics, in points.
        gain: expected gain over zero-shot in points: mean of R@1 and R@5, both directions. spread: its standard deviation.
        fits: False where the sentence is further from the experts than any that the calibration tried.
        probability: that adapting helps; 0 where no expert fits.
        own: how much of the experts' own parts to apply, 0 (what all share alone) to 1.
        strength: how much of the whole LoRA to apply; 0 recommends zero-shot.
        forgetting: points of R@1 that class names of everyday photos lose under the routed experts, weighted.
        reliable: whether predictions like this one ranked left-out tasks well enough to be shown as a percentage.
    """

    closeness: float
    transfer: float
    gain: float
    spread: float
    fits: bool
    probability: float
    own: float
    strength: float
    forgetting: float = 0.0
    reliable: bool = True


@dataclass(frozen=True)
class ConfidenceModel:
    """gain = bias + closeness * x1 + transfer * x2, give or take ``spread``; both slopes are 0 or more.

    Attributes:
        lowest: closeness below which no expert fits.
        points: number of left-out tasks behind it.
        shared_gain: what the shared part alone gained on them, in points; None where experts share nothing.
        rank_correlation: Spearman's, of predicted with measured gains of topics that were left out of the fit, too.
    """

    bias: Figure
    closeness: Figure
    transfer: Figure
    spread: Annotated[Figure, Field(gt=0)]
    lowest: Figure
    points: Count
    shared_gain: Figure | None = None
    rank_correlation: Figure = 1.0

    def judge(
        self, routing: Routing, transfers: Tensor, forgetting: Tensor | None = None, about_photos: bool = True
    ) -> Confidence:
        """The confidence in a routed description.

        Args:
            transfers: [n] of every expert of the repository, in points. forgetting: [n] likewise.
            about_photos: False: no expert fits the sentence, however close some seem.
        """
        closeness, transfer = evidence(routing, transfers)
        gain = self.bias + self.closeness * closeness + self.transfer * transfer
        fits = about_photos and closeness >= self.lowest
        probability = _normal(gain / self.spread) if fits else 0.0
        own = min(max((probability - EVEN) / (SURE - EVEN), 0.0), 1.0)
        lost = 0.0 if forgetting is None else float(routing.weights @ forgetting[routing.chosen])
        strength = 1.0 if (self.shared_gain or 0.0) > 0 else own
        promised = gain if own else (self.shared_gain or 0.0)
        if lost > max(promised, 0.0):  # what costs more than it promises is not applied in full
            strength *= max(promised, 0.0) / lost
        own = own if self.shared_gain is not None else 1.0
        reliable = self.rank_correlation > RELIABLE
        return Confidence(closeness, transfer, gain, self.spread, fits, probability, own, strength, lost, reliable)


def evidence(routing: Routing, transfers: Tensor) -> tuple[float, float]:
    """What predicts a gain: closeness and transfer of the routed experts, weighted as they are routed."""
    weights, chosen = routing.weights, routing.chosen
    return routing.closeness, float(weights @ transfers[chosen])


def known_transfers(transfers: Sequence[float | None]) -> Tensor:
    """[n]; an expert that was never left out counts as an average one."""
    known = [t for t in transfers if t is not None]
    mean = sum(known) / len(known) if known else 0.0
    return torch.tensor([mean if t is None else t for t in transfers], dtype=torch.float32)


def _normal(x: float) -> float:
    """Cumulative distribution of the standard normal."""
    return 0.5 * (1 + erf(x / sqrt(2)))
