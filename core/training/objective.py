"""The loss of every adapter: retrieval within a task, plus a penalty for forgetting the names of ImageNet's classes.

An adapter of texts should not move class names: the penalty is the distance by which it moves them. An adapter of photos, or of
both, should not change which names a photo is similar to. Its penalty is the KL divergence between the similarities before and
after, on the task's photos and on some everyday ones (learning without forgetting, arXiv 1606.09282; the frozen model is the
teacher). If a backbone has a shared LoRA, photos are embedded under it, and expert LoRAs move texts alone. Both are trained in
the mixed scores of search, so they learn what the frozen heads lack.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.backbones.base import Backbone
from core.backbones.lora import Lora
from core.common.device import sent, training_autocast
from core.training.class_names import ClassNames
from core.training.corpus import Corpus

NAME_SCALE = 20.0  # inverse temperature of similarities to class names
MOVED_NAMES, CONFUSED_NAMES = 10.0, 0.6  # weights of the penalties
TRAINED_WEIGHT = 0.7  # of the adapter in the mixed scores of training; search may use more


@dataclass(frozen=True)
class Batch:
    """Photos and texts. Photos after the first n serve the penalty alone."""

    prefixes: Tensor  # [n or more, *prefix_shape] of the photos
    base: Tensor  # [n or more, d], zero-shot embeddings of the photos
    texts: Tensor  # prefixes [t, …]
    positive: Tensor  # [n, t] bool: the text is right for the photo
    keep: Tensor | None = None  # indexes of the patches to use, for adapters of photos; None: all


@dataclass(frozen=True)
class Objective:
    """The loss of an adapter on a task's photos."""

    corpus: Corpus
    scale: float = 20.0  # inverse temperature
    memory: float = 1.0  # factor of the penalty; 0: none
    batch: int = 256  # photos of the task
    everyday: int = 0  # for adapters of photos: everyday photos added to a batch
    tokens: int = 100_000  # for adapters of photos: most patches per photo
    names: int = 1000  # class names in the penalty of one step
    weight: float = 1.0  # of the adapter in the trained scores, the rest is zero-shot; 1 if photos have one embedding

    def batch_of(self, rows: np.ndarray, everyday: int, rng: np.random.Generator) -> Batch:
        """Photos of the task with these rows, one random text each, and ``everyday`` other photos."""
        corpus = self.corpus
        shown = rng.choice(rows, min(self.batch, len(rows)), replace=False)
        texts = torch.from_numpy(np.array([rng.choice(corpus.own_texts[row]) for row in shown]))
        beside = np.flatnonzero(corpus.everyday & corpus.train) if everyday else shown[:0]
        others = rng.choice(beside, min(everyday, len(beside)), replace=False) if len(beside) else beside
        photos = torch.from_numpy(np.concatenate([shown, others]))
        labels = torch.from_numpy(corpus.labels[shown])
        positive = labels[:, None] == labels[None, :]
        return Batch(corpus.seen(photos, rng), corpus.base[photos], corpus.texts[texts], positive)

    def loss(self, rows: np.ndarray, lora: Lora, rng: np.random.Generator) -> Tensor:
        """Contrastive loss of a batch of the task with these rows, plus the weighted penalty."""
        backbone, trained = self.corpus.backbone, trains_photos(self.corpus.backbone, lora)
        batch = self.batch_of(rows, self.everyday if self.memory and trained else 0, rng)
        if trained and self.tokens < (patches := backbone.adapted.patches):
            batch = replace(batch, keep=torch.from_numpy(rng.permutation(patches)[: self.tokens]).to(backbone.device))
        names = self.corpus.class_names.some(rng, self.names) if self.memory else None
        return adapter_loss(backbone, lora, batch, names, self.scale, self.memory, self.weight)


def trains_photos(backbone: Backbone, lora: Lora) -> bool:
    """Whether photos need gradients. Under a shared LoRA they do not, since it does not change."""
    return lora.moves_photos and backbone.shared is None


def adapter_loss(
    backbone: Backbone, lora: Lora, batch: Batch, names: ClassNames | None, scale: float, memory: float, weight: float = 1.0
) -> Tensor:
    """Contrastive loss of a batch plus ``memory`` times the penalty for forgetting ``names`` (None: no penalty), on the
    backbone's device; differentiable in the LoRA. ``weight``: as in ``Objective``."""
    device = backbone.device
    device_lora, base, penalty = lora.to(device), batch.base.to(device), torch.zeros((), device=device)
    texts = adapted_texts(backbone, batch.texts, device_lora)
    if trains_photos(backbone, lora):
        with training_autocast(device):
            adapted = backbone.adapted.vision(sent(batch.prefixes, device).float(), device_lora, batch.keep).float()
        photos = mixed(base, adapted, weight)
    else:
        photos = backbone.suffix(batch.prefixes, lora).to(device) if lora.moves_photos else base
        if weight < 1:
            photos = mixed(backbone.suffix(batch.prefixes).to(device), photos, weight)
    if weight < 1:
        texts = mixed(backbone.text_suffix(batch.texts).to(device), texts, weight)
    if names and trains_photos(backbone, lora):
        before = names.embeddings.to(device)
        after = mixed(before, adapted_texts(backbone, names.prefixes, device_lora), weight)
        penalty = CONFUSED_NAMES * confused_names(photos, base, after, before)
    elif names and lora.moves_texts:
        after = adapted_texts(backbone, names.prefixes, device_lora)
        penalty = MOVED_NAMES * (after - names.embeddings.to(device)).square().sum(1).mean()
    return contrastive(photos[: len(batch.positive)], texts, batch.positive.to(device), scale) + memory * penalty


def mixed(base: Tensor, adapted: Tensor, weight: float) -> Tensor:
    """Unit-length embeddings [n, 2d] whose products are (1 - weight) zero-shot + weight adapted scores; at 1, the adapted."""
    return torch.cat([(1 - weight) ** 0.5 * base, weight**0.5 * adapted], 1) if weight < 1 else adapted


def adapted_texts(backbone: Backbone, prefix: Tensor, lora: Lora) -> Tensor:
    """Embeddings [t, d] of text prefixes, on the backbone's device; without gradients if the LoRA does not move texts."""
    if not lora.moves_texts:
        return backbone.text_suffix(prefix).to(backbone.device)
    return backbone.adapted.text(prefix.to(backbone.device), lora).float()


def confused_names(images: Tensor, before: Tensor, names: Tensor, names_before: Tensor) -> Tensor:
    """KL divergence of photos' [n, d] similarities to class names [c, d], from before to after adapting; mean, in nats."""
    return distillation(images, names, F.log_softmax(NAME_SCALE * before @ names_before.T, 1), NAME_SCALE)


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
