"""What every adapter is trained with: retrieval within a task, and a penalty for forgetting the names of ImageNet's classes.

An adapter of texts may move captions, but not class names: the penalty is how far it moves these. An adapter of photos may move
photos, but not across class names: the penalty is the KL divergence between their similarities to the names before and after,
on the task's photos and on some of everyday objects (learning without forgetting, arXiv 1606.09282, with the frozen model as
the teacher).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.backbones.base import AdaptedImage, Backbone, Side
from core.backbones.lora import Lora
from core.common.device import sent, training_autocast
from core.training.corpus import Corpus
from core.training.losses import contrastive

NAME_SCALE = 20.0  # inverse temperature of similarities to class names
MEMORY: Mapping[Side, float] = {"texts": 10.0, "photos": 0.6}  # weight of the penalty, by what is adapted


@dataclass(frozen=True)
class Objective:
    """The loss of an adapter on a task's photos.

    Attributes:
        scale: inverse temperature. memory: of the penalty, in its usual weights; 0: none. batch: photos of the task.
        everyday, tokens: for adapters of photos, photos of everyday objects beside them, and patches looked at (all, where
            there are fewer).
        allowed: [n] bool, photos that may be used as everyday ones.
    """

    backbone: Backbone
    corpus: Corpus
    allowed: np.ndarray
    scale: float = 20.0
    memory: float = 1.0
    batch: int = 256
    everyday: int = 0
    tokens: int = 100_000

    def loss(self, rows: np.ndarray, lora: Lora, rng: np.random.Generator) -> Tensor:
        """Contrastive loss of a batch of the task with these rows, one random text a photo, plus the weighted penalty."""
        corpus, backbone, device = self.corpus, self.backbone, self.backbone.device
        shown = rng.choice(rows, min(self.batch, len(rows)), replace=False)
        sentences = corpus.sentences[torch.from_numpy(np.array([rng.choice(corpus.own_texts[r]) for r in shown]))]
        there = lora.to(device)
        if backbone.adapts == "texts":
            images = corpus.base[torch.from_numpy(shown)].to(device)
            texts = backbone.adapted(sentences.to(device), there)
            penalty = moved_names(backbone, there, corpus.name_sentences, corpus.class_names) if self.memory else 0.0
        else:
            images, penalty = self._adapted_photos(shown, there, rng)
            texts = backbone.text_from_sentences(sentences).to(device)
        labels = corpus.labels[shown]
        positive = torch.from_numpy(labels[:, None] == labels[None, :]).to(device)
        return contrastive(images, texts, positive, self.scale) + self.memory * MEMORY[backbone.adapts] * penalty

    def _adapted_photos(self, shown: np.ndarray, lora: Lora, rng: np.random.Generator) -> tuple[Tensor, Tensor | float]:
        """Adapted embeddings of these photos, and the penalty on them and on everyday ones."""
        corpus, device = self.corpus, self.backbone.device
        head = self.backbone.adapted
        assert isinstance(head, AdaptedImage)
        beside = np.flatnonzero(corpus.everyday & self.allowed)
        few = min(self.everyday, len(beside)) if self.memory else 0
        everything = torch.from_numpy(np.concatenate([shown, rng.choice(beside, few, replace=False)]) if few else shown)
        keep = torch.from_numpy(rng.permutation(head.patches)[: self.tokens]).to(device) if self.tokens < head.patches else None
        images = adapted_photos(self.backbone, corpus.maps[everything], lora, keep)
        if not self.memory:
            return images, 0.0
        before, names = corpus.base[everything].to(device), corpus.class_names.to(device)
        return images[: len(shown)], confused_names(images, before, names)


def adapted_photos(backbone: Backbone, prefix: Tensor, lora: Lora, keep: Tensor | None = None) -> Tensor:
    """Embeddings [n, d] with gradients, on the backbone's device, from prefix activations."""
    with training_autocast(backbone.device):
        return backbone.adapted(sent(prefix, backbone.device).float(), lora=lora, keep=keep).float()


def moved_names(backbone: Backbone, lora: Lora, sentences: Tensor, names: Tensor) -> Tensor:
    """Squared distance by which an adapter of texts moves class names, mean over names; 0 to 4.

    Args:
        lora: on the backbone's device. sentences: [c, s] of the names. names: [c, d] zero-shot.
    """
    adapted = backbone.adapted(sentences.to(backbone.device), lora)
    return (adapted - names.to(backbone.device)).square().sum(1).mean()


def confused_names(images: Tensor, before: Tensor, names: Tensor) -> Tensor:
    """KL divergence from similarities with class names before to after adapting photos, mean over photos, in nats.

    Args:
        images, before: [n, d]. names: [c, d].
    """
    teacher, student = (F.log_softmax(NAME_SCALE * x @ names.T, 1) for x in (before, images))
    return F.kl_div(student, teacher, log_target=True, reduction="batchmean")
