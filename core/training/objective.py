"""What every adapter is trained with: retrieval within a task, and a penalty for forgetting the names of ImageNet's classes.

An adapter of texts may move captions, but not class names: the penalty is how far it moves these. An adapter of photos, or of
both, may move photos, but not across class names: the penalty is the KL divergence between their similarities to the names
before and after, on the task's photos and on some of everyday objects (learning without forgetting, arXiv 1606.09282, with the
frozen model as the teacher). Where a backbone has a shared part, photos are as it sees them, and own parts move texts alone.
There, all parts are trained in the mixed scores that people search with: they learn what the frozen heads lack.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.backbones.base import Backbone
from core.backbones.lora import Lora
from core.common.device import sent, training_autocast
from core.training.class_names import ClassNames
from core.training.corpus import Corpus
from core.training.losses import contrastive, distillation

NAME_SCALE = 20.0  # inverse temperature of similarities to class names
MOVED_NAMES, CONFUSED_NAMES = 10.0, 0.6  # weights of the penalties
TRAINED_WEIGHT = 0.7  # of the adapter in the mixed scores that are trained; search may take more


@dataclass(frozen=True)
class Batch:
    """Photos and a text for each of the first of them; the others are there for the penalty alone."""

    prefixes: Tensor  # [n, *prefix_shape] of the photos
    base: Tensor  # [n, d], their zero-shot embeddings
    texts: Tensor  # prefixes [t, …]
    positive: Tensor  # [t, t] bool, which are right for which photos


@dataclass(frozen=True)
class Objective:
    """The loss of an adapter on a task's photos."""

    corpus: Corpus
    scale: float = 20.0  # inverse temperature
    memory: float = 1.0  # of the penalty, in its usual weights; 0: none
    batch: int = 256  # photos of the task
    everyday: int = 0  # for adapters of photos, photos of everyday objects beside them
    tokens: int = 100_000  # for adapters of photos, patches looked at, at most
    names: int = 1000  # class names that the penalty of one step looks at
    weight: float = 1.0  # of the adapter in the scores that are trained, else zero-shot's; 1 where photos have one embedding

    def batch_of(self, rows: np.ndarray, everyday: int, rng: np.random.Generator) -> Batch:
        """Photos of the task with these rows, one random text each, and some of everyday objects beside them."""
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
        backbone, keep = self.corpus.backbone, None
        trained, patches = trains_photos(backbone, lora), backbone.adapted.patches
        batch = self.batch_of(rows, self.everyday if self.memory and trained else 0, rng)
        if trained and self.tokens < patches:
            keep = torch.from_numpy(rng.permutation(patches)[: self.tokens]).to(backbone.device)
        names = self.corpus.class_names.some(rng, self.names) if self.memory else None
        return adapter_loss(backbone, lora, batch, names, self.scale, self.memory, keep, self.weight)


def trains_photos(backbone: Backbone, lora: Lora) -> bool:
    """Whether photos have to be embedded with gradients: not under a shared part, which does not change."""
    return lora.moves_photos and backbone.shared is None


def adapter_loss(
    backbone: Backbone,
    lora: Lora,
    batch: Batch,
    names: ClassNames | None,
    scale: float,
    memory: float,
    keep: Tensor | None = None,
    weight: float = 1.0,
) -> Tensor:
    """Contrastive loss of a batch plus ``memory`` times the penalty for forgetting ``names`` (None: without), on the backbone's
    device; differentiable in the LoRA. Adapters of photos look at the patches ``keep`` (None: all); ``weight`` as in
    ``Objective``."""
    device = backbone.device
    there, base, penalty = lora.to(device), batch.base.to(device), torch.zeros((), device=device)
    texts = adapted_texts(backbone, batch.texts, there)
    if trains_photos(backbone, lora):
        with training_autocast(device):
            adapted = backbone.adapted.vision(sent(batch.prefixes, device).float(), there, keep).float()
        photos = mixed(base, adapted, weight)
    else:
        photos = backbone.suffix(batch.prefixes, lora).to(device) if lora.moves_photos else base
        if weight < 1:
            photos = mixed(backbone.suffix(batch.prefixes).to(device), photos, weight)
    if weight < 1:
        texts = mixed(backbone.text_suffix(batch.texts).to(device), texts, weight)
    if names and trains_photos(backbone, lora):
        before = names.embeddings.to(device)
        after = mixed(before, adapted_texts(backbone, names.prefixes, there), weight)
        penalty = CONFUSED_NAMES * confused_names(photos, base, after, before)
    elif names and lora.moves_texts:
        penalty = MOVED_NAMES * moved_names(backbone, there, names)
    return contrastive(photos[: len(texts)], texts, batch.positive.to(device), scale) + memory * penalty


def mixed(base: Tensor, adapted: Tensor, weight: float) -> Tensor:
    """Embeddings [n, 2d] of unit length whose products are (1 - weight) zero-shot + weight adapted scores; at 1 the adapted."""
    return torch.cat([(1 - weight) ** 0.5 * base, weight**0.5 * adapted], 1) if weight < 1 else adapted


def adapted_texts(backbone: Backbone, prefix: Tensor, lora: Lora) -> Tensor:
    """Embeddings [t, d] from text prefixes, on the backbone's device; without gradients where the LoRA leaves texts."""
    if not lora.moves_texts:
        return backbone.text_suffix(prefix).to(backbone.device)
    return backbone.adapted.text(prefix.to(backbone.device), lora).float()


def moved_names(backbone: Backbone, lora: Lora, names: ClassNames) -> Tensor:
    """Squared distance by which an adapter of texts, on the backbone's device, moves class names, mean over names; 0 to 4."""
    adapted = adapted_texts(backbone, names.prefixes, lora)
    return (adapted - names.embeddings.to(backbone.device)).square().sum(1).mean()


def confused_names(images: Tensor, before: Tensor, names: Tensor, names_before: Tensor) -> Tensor:
    """KL divergence from similarities with class names [c, d] before to after adapting, mean over photos [n, d], in nats."""
    return distillation(images, names, F.log_softmax(NAME_SCALE * before @ names_before.T, 1), NAME_SCALE)
