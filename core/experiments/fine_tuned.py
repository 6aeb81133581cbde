"""The control that says what an adapter could reach at most: both heads of the embedded backbone fine-tuned, in full, on the
photos that train the shared part, with the same loss."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from core.backbones.embedded import EmbeddedBackbone, load_embedded, save_heads
from core.backbones.heads import TextHead, VisionHead
from core.common.device import sent, training_autocast
from core.common.progress import Bar, Log
from core.training.corpus import Corpus
from core.training.losses import contrastive
from core.training.objective import CONFUSED_NAMES, Objective, confused_names


@dataclass(frozen=True)
class FineTuning:
    """AdamW with one cycle of the learning rate; ``names`` are class names of one step's penalty."""

    steps: int = 300
    batch: int = 128
    everyday: int = 48
    names: int = 1000
    lr: float = 4e-4
    scale: float = 20.0
    seed: int = 0


def fine_tuned(corpus: Corpus, backbone: EmbeddedBackbone, file: Path, recipe: FineTuning, log: Log) -> EmbeddedBackbone:
    """The fine-tuned backbone, from ``file`` where an earlier run kept it; ``corpus`` is of ``backbone``, whose prefixes are
    maps of the image tower."""
    if not file.is_file():
        both = copy.deepcopy(backbone.adapted).train().requires_grad_(True)
        assert isinstance(both.vision, VisionHead) and isinstance(both.text, TextHead)
        optimizer = torch.optim.AdamW(both.parameters(), lr=recipe.lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, recipe.steps)
        objective = Objective(backbone, corpus, batch=recipe.batch, everyday=recipe.everyday)
        scenes, rng = np.flatnonzero(corpus.train & corpus.scenes), np.random.default_rng(recipe.seed)
        bar = Bar("fine-tuning both heads", recipe.steps, log, "steps")
        for step in range(1, recipe.steps + 1):
            batch = objective.batch_of(scenes, recipe.everyday, rng)
            names = corpus.class_names.some(rng, recipe.names)
            with training_autocast(backbone.device):
                photos = both.vision(sent(batch.prefixes, backbone.device).float()).float()
            texts, after = both.text(batch.texts), both.text(names.prefixes)
            loss = contrastive(photos[: len(texts)], texts, batch.positive, recipe.scale)
            loss = loss + CONFUSED_NAMES * confused_names(photos, batch.base, after, names.embeddings)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(both.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            bar.to(step, f"loss {float(loss.detach()):.3f}")
        bar.close()
        save_heads(both.vision, both.text, file, {"steps": recipe.steps})
    return load_embedded(file, adapt="photos")
