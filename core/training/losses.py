"""Contrastive losses over unit-length embeddings."""

import torch.nn.functional as F
from torch import Tensor


def contrastive(images: Tensor, texts: Tensor, positive: Tensor, scale: float | Tensor) -> Tensor:
    """Symmetric contrastive loss (CLIP, arXiv 2103.00020) of images [n, d] and texts [m, d] that allows several positives.
    ``positive``: [n, m] bool; the mean leaves out rows and columns without one. ``scale``: inverse temperature."""
    logits = scale * images @ texts.T

    def one_way(logits: Tensor, positive: Tensor) -> Tensor:
        rows = positive.any(1)
        return F.cross_entropy(logits[rows], F.normalize(positive[rows].to(logits.dtype), p=1))

    return (one_way(logits, positive) + one_way(logits.T, positive.T)) / 2


def distillation(images: Tensor, classes: Tensor, teacher: Tensor, scale: float | Tensor) -> Tensor:
    """KL divergence from a classifier's log-probabilities [n, c] to the similarities of images [n, d] with classes [c, d]."""
    student = F.log_softmax(scale * images @ classes.T, dim=1)
    return F.kl_div(student, teacher, log_target=True, reduction="batchmean")
