"""Suggest sentences for photos, and detect photos of another kind than a sentence's experts.

A ridge regression from photo embeddings x to sentence embeddings, fitted on the photos that trained the experts,

    W = (S + RIDGE s I)^-1 C,   S: covariance of x, C: of x with the mean sentence of its captions, s: mean of S's diagonal

gives (x - mean) W, the sentence that a photo would have. It is compared with the experts' keys like a visitor's sentence. The
experts are chosen greedily, so that the photos' mean closeness to the closest of them is highest (facility location: Nemhauser,
Wolsey and Fisher 1978, https://doi.org/10.1007/BF01588971).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from core.common.lazy import lazy
from core.sglora.repository import EVERYDAY, Expert, ExpertRepository
from core.sglora.router import Routing

RIDGE = 0.01  # this and the numbers below were chosen on validation photos; 0.1 and 0.5 give nearly the same
MOST_SUGGESTED = 3
MOST_PHOTOS = 256  # of a gallery, to look at
FEWEST_SHARE = 0.1  # a further expert is closer than the chosen ones for this share of the photos, or is not chosen
LEAST_CLOSENESS = 0.22  # no suggestion if the photos' mean closeness is significantly below this
ORDINARY = (EVERYDAY, "objects")  # groups of one kind: everyday scenes and everyday objects
SURE = 2.0  # standard errors of a mean over photos that make a difference significant
LEAST_ALIKE = 0.25  # least overlap of the kinds of photos and routed experts; a sentence may be about a third of the photos
LEAST_CLOSER = 0.05  # photos of another kind are significantly closer to another expert, by this cosine


class PhotoSentences(NamedTuple):
    """The regression: x has the sentence (x - mean) @ weights."""

    mean: Tensor  # [d]
    weights: Tensor  # [d, s]


def fit_sentences(photos: Tensor, sentences: Tensor) -> PhotoSentences:
    """The regression for photo embeddings [n, d] and the mean sentence embedding of each photo's captions [n, s]."""
    x, y = photos.double(), sentences.double()
    mean, x, y = x.mean(0), x - x.mean(0), y - y.mean(0)
    covariance = x.T @ x / len(x)
    ridge = RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
    return PhotoSentences(mean.float(), torch.linalg.solve(covariance + ridge, x.T @ y / len(x)).float())


@dataclass(frozen=True)
class Look:
    """How close photos are to each expert."""

    experts: Sequence[Expert]
    closeness: Tensor  # cosines [n, experts] of the photos' predicted sentences and the experts' keys; n may be 0

    @staticmethod
    def of(repository: ExpertRepository, photos: Tensor) -> Look | None:
        """Look at photos with these zero-shot embeddings [n, d]; None without a regression."""
        if repository.photo_sentences is None:
            return None
        mean, weights = repository.photo_sentences
        sentences = F.normalize((photos - mean) @ weights, dim=-1)
        return Look(repository.experts, sentences @ repository.embeddings.T)

    @lazy
    def suggested(self) -> list[Expert]:
        """The experts whose topics cover the photos, the best one first; none for no photos."""
        return [self.experts[i] for i in covering(self.closeness)] if len(self.closeness) else []

    def differs(self, routing: Routing) -> bool:
        """Whether the photos are of another kind than the routed experts: few photos are closest to an expert of these kinds,
        and one expert is significantly closer to the photos than the routed ones."""
        if len(self.closeness) < 2:
            return False
        kinds = [EVERYDAY if expert.group in ORDINARY else expert.group for expert in self.experts]
        shown = [kinds[i] for i in self.closeness.argmax(1).tolist()]
        routed = [kinds[i] for i in routing.chosen.tolist()]
        weight = {kind: sum(float(w) for k, w in zip(routed, routing.weights, strict=True) if k == kind) for kind in routed}
        alike = sum(min(weight[kind], shown.count(kind) / len(shown)) for kind in weight)
        best = self.closeness[:, int(self.closeness.mean(0).argmax())]
        closer = best - self.closeness[:, routing.chosen] @ routing.weights
        return alike < LEAST_ALIKE and float(closer.mean() - SURE * standard_error(closer)) > LEAST_CLOSER


def standard_error(values: Tensor) -> Tensor:
    """The standard error of the mean of values [n]; 0 for one value."""
    return values.std(correction=int(len(values) > 1)) / len(values) ** 0.5


def suggested(repository: ExpertRepository, photos: Tensor) -> list[Expert]:
    """Experts whose topics cover photos with these zero-shot embeddings [n, d], the best one first; none if n is 0."""
    look = Look.of(repository, photos)
    return [] if look is None else look.suggested


def covering(closeness: Tensor) -> list[int]:
    """The experts that cover the photos, at most MOST_SUGGESTED, the best one first. Empty if they are
    significantly far from all. An uncertain mean suggests, so that suggestions do not change with the number of photos.

    ``closeness``: cosines [n, experts] of photos and experts, n > 0.
    """
    chosen: list[int] = []
    best = torch.zeros(len(closeness))  # closeness of each photo to the closest chosen expert
    while len(chosen) < MOST_SUGGESTED:
        expert = int((closeness - best[:, None]).clamp(min=0).mean(0).argmax())
        closer = closeness[:, expert] > best
        if float(closer.float().mean()) < FEWEST_SHARE:
            break
        chosen.append(expert)
        best = torch.maximum(best, closeness[:, expert])
    return chosen if float(best.mean() + SURE * standard_error(best)) >= LEAST_CLOSENESS else []
