"""What all experts share: one LoRA, trained on densely sampled tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.backbones.lora import Lora, LoraLayout, initial_vector
from core.training.dense_tasks import DenseTasks
from core.training.objective import Objective

Log = Callable[[str], None]
REPORT = 200  # steps


@dataclass(frozen=True)
class SharedRecipe:
    """How the shared part is trained; ``steps`` 0: there is none."""

    rank: int = 24
    steps: int = 8000
    lr: float = 3e-3


def train_shared(objective: Objective, tasks: DenseTasks, recipe: SharedRecipe, seed: int = 0, log: Log = print) -> Tensor:
    """One LoRA [P] at ``recipe.rank``, a sampled task a step."""
    layout = LoraLayout(objective.backbone.layout.modules, recipe.rank)
    vector = torch.nn.Parameter(initial_vector(layout, seed))
    optimizer = torch.optim.Adam([vector], lr=recipe.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    rng = np.random.default_rng(seed)
    started, total = time.monotonic(), 0.0
    for step in range(1, recipe.steps + 1):
        loss = objective.loss(tasks.sample(rng).rows, Lora.from_vector(layout, vector), rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([vector], 1.0)
        optimizer.step()
        schedule.step()
        total += float(loss.detach())
        if step % REPORT == 0:
            left = (time.monotonic() - started) / step * (recipe.steps - step)
            log(f"shared part: step {step}/{recipe.steps}, loss {total / REPORT:.3f}; {left:.0f} s left")
            total = 0.0
    return vector.detach()
