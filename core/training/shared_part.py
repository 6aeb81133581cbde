"""What all experts share: one LoRA, trained on densely sampled tasks."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from core.backbones.lora import Lora, LoraLayout, initial_vector
from core.common.progress import Bar, Log
from core.training.dense_tasks import DenseTasks
from core.training.objective import Objective

WARM_UP = 30  # steps


def train_shared(
    objective: Objective, layout: LoraLayout, steps: int, lr: float, dense: float = 1.0, seed: int = 0, log: Log = print
) -> Tensor:
    """One LoRA [P] of this layout, trained on the training photos of the objective's corpus. A share ``dense`` of the steps
    looks at a sampled task, the others at everyday scenes of all kinds."""
    corpus = objective.corpus
    tasks, scenes = DenseTasks(corpus, corpus.train), np.flatnonzero(corpus.train & corpus.scenes)
    vector = torch.nn.Parameter(initial_vector(layout, seed))
    optimizer = torch.optim.Adam([vector], lr=lr)
    schedule = one_cycle(optimizer, steps, WARM_UP)
    rng = np.random.default_rng(seed)
    bar = Bar("shared part", steps, log, "steps")
    for step in range(1, steps + 1):
        rows = tasks.sample(rng).rows if rng.random() < dense or not len(scenes) else scenes
        loss = objective.loss(rows, Lora.from_vector(layout, vector), rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([vector], 1.0)
        optimizer.step()
        schedule.step()
        bar.to(step, f"loss {loss.detach():.3f}")
    bar.close()
    return vector.detach()


def one_cycle(optimizer: torch.optim.Optimizer, steps: int, warm_up: int) -> torch.optim.lr_scheduler.LambdaLR:
    """A learning rate that rises for ``warm_up`` steps and falls to zero along a cosine."""

    def share(step: int) -> float:
        return min(1.0, (step + 1) / warm_up) * (0.5 + 0.5 * math.cos(math.pi * step / steps))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)
