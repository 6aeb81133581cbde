"""Contrastive losses over unit-length embeddings."""

import torch.nn.functional as F
from torch import Tensor


def contrastive(images: Tensor, texts: Tensor, positive: Tensor, scale: float | Tensor) -> Tensor:
    """Symmetric contrastive loss (CLIP, arXiv 2103.00020) of images [n, d] and texts [m, d] that allows several positives.
    ``positive``: [n, m] bool; the mean leaves out rows and columns without one. ``scale``: inverse temperature."""
    logits = scale * images @ texts.T
    target = positive.to(logits.dtype)

    def one_way(logits: Tensor, target: Tensor) -> Tensor:
        rows = target.sum(1) > 0
        share = target[rows] / target[rows].sum(1, keepdim=True)
        return -(share * F.log_softmax(logits[rows], dim=1)).sum(1).mean()

    return (one_way(logits, target) + one_way(logits.T, target.T)) / 2


def distillation(images: Tensor, classes: Tensor, teacher: Tensor, scale: float | Tensor) -> Tensor:
    """KL divergence from a classifier's log-probabilities [n, c] to the similarities of images [n, d] with classes [c, d]."""
    student = F.log_softmax(scale * images @ classes.T, dim=1)
    return F.kl_div(student, teacher, log_target=True, reduction="batchmean")
