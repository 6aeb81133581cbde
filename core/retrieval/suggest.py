"""Suggest sentences for photos, and detect photos of another kind than a sentence's experts.

A ridge regression from photo embeddings x to sentence embeddings, fitted on the photos that trained the experts,

    W = (S + RIDGE s I)^-1 C,   S: covariance of x, C: of x with the mean sentence of its captions, s: mean of S's diagonal

gives (x - mean) W, the sentence that a photo would have. It is compared with the experts' keys like a visitor's sentence.
Suggested is the sentence of the special domain that is closest to the photos on average. Everyday photos get none: search
without a sentence finds more of them.
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
MOST_PHOTOS = 256  # of a gallery, to look at
LEAST_CLOSENESS = 0.22  # no suggestion if the photos' mean closeness is significantly below this
MOST_EVERYDAY = 0.45  # photos are everyday ones if a larger share of them is closest to an everyday scene,
ORDINARY_CLOSER = 0.1  # or if an ordinary expert is closer by so much than any special one
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
    def _special(self) -> int | None:
        """The expert of a special domain that is closest to the photos on average; None without one, or without photos."""
        special = [i for i, expert in enumerate(self.experts) if expert.group not in ORDINARY and len(self.closeness)]
        return max(special, key=self._mean.__getitem__, default=None)

    @lazy
    def _mean(self) -> list[float]:
        return self.closeness.clamp(min=0).mean(0).tolist()

    @lazy
    def everyday(self) -> bool:
        """Whether the photos show everyday scenes, or objects that no special domain is as close to."""
        shown = [self.experts[i].group == EVERYDAY for i in self.closeness.argmax(1).tolist()]
        ordinary = [mean for mean, expert in zip(self._mean, self.experts, strict=True) if expert.group in ORDINARY]
        special = 0.0 if self._special is None else self._mean[self._special]
        return sum(shown) > MOST_EVERYDAY * len(shown) or max(ordinary, default=0.0) > special + ORDINARY_CLOSER

    @lazy
    def suggested(self) -> Expert | None:
        """The closest expert of a special domain; None for everyday photos, and for photos that are significantly far from it.
        An uncertain mean suggests, so that the suggestion does not change with the number of photos."""
        if self._special is None or self.everyday:
            return None
        closeness = self.closeness[:, self._special].clamp(min=0)
        near = float(closeness.mean() + SURE * standard_error(closeness)) >= LEAST_CLOSENESS
        return self.experts[self._special] if near else None

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
