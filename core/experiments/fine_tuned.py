"""The control for what an adapter could reach: both heads of the embedded backbone, fully fine-tuned on everyday scenes."""

import copy
from pathlib import Path

import numpy as np
import torch

from core.backbones.embedded import EmbeddedBackbone, load_embedded, save_heads
from core.backbones.heads import TextHead, VisionHead
from core.common.device import sent, training_autocast
from core.common.progress import Bar, Log
from core.training.corpus import Corpus
from core.training.descent import descend
from core.training.objective import CONFUSED_NAMES, Objective, confused_names, contrastive

STEPS, RATE = 300, 4e-4  # of AdamW, with a one-cycle schedule
PHOTOS, EVERYDAY = 128, 48  # per step
SCALE = 20.0  # inverse temperature


def fine_tuned(corpus: Corpus, file: Path, log: Log) -> EmbeddedBackbone:
    """Fine-tune the backbone of a corpus whose prefixes are maps of the image tower, or read it from ``file`` if an earlier run
    wrote it. The loss is contrastive, with the penalty for forgetting."""
    if not file.is_file():
        backbone = corpus.backbone
        both = copy.deepcopy(backbone.adapted).train().requires_grad_(True)
        assert isinstance(both.vision, VisionHead) and isinstance(both.text, TextHead)
        optimizer = torch.optim.AdamW(both.parameters(), lr=RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS)
        objective = Objective(corpus, batch=PHOTOS)
        scenes, rng = np.flatnonzero(corpus.train & corpus.scenes), np.random.default_rng(0)
        names = corpus.class_names
        with Bar("fine-tuning both heads", STEPS, log, "steps") as bar:
            for step in range(1, STEPS + 1):
                batch = objective.batch_of(scenes, EVERYDAY, rng)
                with training_autocast(backbone.device):
                    photos = both.vision(sent(batch.prefixes, backbone.device).float()).float()
                texts, after = both.text(batch.texts), both.text(names.prefixes)
                loss = contrastive(photos[: len(texts)], texts, batch.positive, SCALE)
                loss = loss + CONFUSED_NAMES * confused_names(photos, batch.base, after, names.embeddings)
                descend(loss, optimizer, schedule, [*both.parameters()])
                bar.to(step, f"loss {float(loss.detach()):.3f}")
        save_heads(both.vision, both.text, file, {"steps": STEPS})
    return load_embedded(file, adapt="photos")
