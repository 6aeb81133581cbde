"""Suggest sentences for photos without a description: the experts whose topics cover the photos best.

A ridge regression from photo embeddings x to sentence embeddings, fitted on the photos that trained the experts,

    W = (S + RIDGE s I)^-1 C,   S: covariance of x, C: of x with the mean sentence of its captions, s: mean of S's diagonal

gives (x - mean) W, the sentence that a photo would have. It is compared with the experts' keys like a visitor's sentence. The
experts are chosen greedily, so that the photos' mean closeness to the closest of them is highest (facility location: Nemhauser,
Wolsey and Fisher 1978, https://doi.org/10.1007/BF01588971).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from core.sglora.repository import Expert, ExpertRepository, PhotoSentences

RIDGE = 0.01  # this and the numbers below were chosen on validation photos; 0.1 and 0.5 give nearly the same
MOST_SUGGESTED = 3
MOST_PHOTOS = 256  # of a gallery, for a suggestion
FEWEST_SHARE = 0.1  # another expert has to be the closest one for this share of the photos
LEAST_CLOSENESS = 0.25  # below it, on average, no expert knows such photos, and none is suggested


def fit_sentences(photos: Tensor, sentences: Tensor) -> PhotoSentences:
    """The regression for photo embeddings [n, d] and the mean sentence embedding of each photo's captions [n, s]."""
    x, y = photos.double(), sentences.double()
    mean, x, y = x.mean(0), x - x.mean(0), y - y.mean(0)
    covariance = x.T @ x / len(x)
    ridge = RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
    return PhotoSentences(mean.float(), torch.linalg.solve(covariance + ridge, x.T @ y / len(x)).float())


def suggested(repository: ExpertRepository, photos: Tensor) -> list[Expert]:
    """Experts whose topics cover photos with these zero-shot embeddings [n, d], the best one first; none if n is 0."""
    regression = repository.photo_sentences
    if regression is None or not len(photos):
        return []
    sentences = F.normalize((photos - regression.mean) @ regression.weights, dim=-1)
    return [repository.experts[i] for i in covering(sentences @ repository.embeddings.T)]


def covering(closeness: Tensor) -> list[int]:
    """The experts that cover the photos, at most MOST_SUGGESTED, the best one first. Empty if the photos are far from all.

    ``closeness``: cosines [n, experts] of photos and experts, n > 0.
    """
    chosen: list[int] = []
    best = torch.zeros(len(closeness))  # of each photo, with the closest chosen expert
    while len(chosen) < MOST_SUGGESTED:
        expert = int((closeness - best[:, None]).clamp(min=0).mean(0).argmax())
        closer = closeness[:, expert] > best
        if float(closer.float().mean()) < FEWEST_SHARE:
            break
        chosen.append(expert)
        best = torch.maximum(best, closeness[:, expert])
    return chosen if float(best.mean()) >= LEAST_CLOSENESS else []
