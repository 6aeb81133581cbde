"""What every adapter is trained with: retrieval within a task, and a penalty for forgetting class names.

The penalty is the KL divergence between the similarities to the names of ImageNet's classes before and after, on the task's
photos and on some of everyday objects: an adapter may move photos, but not across names (learning without forgetting, arXiv
1606.09282, with the frozen model as the teacher).
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
from core.training.corpus import Corpus
from core.training.losses import contrastive

NAME_SCALE = 20.0  # inverse temperature of similarities to class names
MEMORY = 0.6  # weight of the penalty


@dataclass(frozen=True)
class Objective:
    """The loss of an adapter on a task's photos.

    Attributes:
        scale: inverse temperature. memory: weight of the penalty; 0: none. batch: photos of the task.
        everyday: photos of everyday objects beside them. tokens: patches looked at (all, where there are fewer).
        allowed: [n] bool, photos that may be used as everyday ones.
    """

    backbone: Backbone
    corpus: Corpus
    allowed: np.ndarray
    scale: float = 20.0
    memory: float = MEMORY
    batch: int = 44
    everyday: int = 16
    tokens: int = 25

    def loss(self, rows: np.ndarray, lora: Lora, rng: np.random.Generator) -> Tensor:
        """Contrastive loss of a batch of the task with these rows, one random text a photo, plus the weighted penalty."""
        corpus, head = self.corpus, self.backbone.adapted
        shown = rng.choice(rows, min(self.batch, len(rows)), replace=False)
        beside = np.flatnonzero(corpus.everyday & self.allowed)
        if self.memory and self.everyday and len(beside):
            extra = rng.choice(beside, min(self.everyday, len(beside)), replace=False)
        else:
            extra = np.empty(0, dtype=np.int64)
        everything = torch.from_numpy(np.concatenate([shown, extra]))
        maps = corpus.maps[everything]
        if self.backbone.mirror is not None and rng.random() < 0.5:
            maps = maps[:, self.backbone.mirror]
        device = self.backbone.device
        keep = torch.from_numpy(rng.permutation(head.patches)[: self.tokens]).to(device)
        some = keep if self.tokens < head.patches else None
        with training_autocast(device):
            images = head(sent(maps, device).float(), lora=lora.to(device), keep=some).float()
        texts = corpus.texts[torch.from_numpy(np.array([rng.choice(corpus.own_texts[r]) for r in shown]))].to(device)
        labels = corpus.labels[shown]
        positive = torch.from_numpy(labels[:, None] == labels[None, :]).to(device)
        loss = contrastive(images[: len(shown)], texts, positive, self.scale)
        if not self.memory:
            return loss
        return loss + self.memory * forgetting_loss(images, corpus.base[everything].to(device), corpus.class_names.to(device))


def forgetting_loss(images: Tensor, before: Tensor, names: Tensor) -> Tensor:
    """KL divergence from similarities with class names before to after adapting, mean over photos, in nats.

    Args:
        images, before: [n, d]. names: [c, d].
    """
    teacher, student = (F.log_softmax(NAME_SCALE * x @ names.T, 1) for x in (before, images))
    return F.kl_div(student, teacher, log_target=True, reduction="batchmean")
