"""Gradient descent for all trainings."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


def descend(
    loss: Tensor, optimizer: torch.optim.Optimizer, schedule: LRScheduler | None = None, clipped: Sequence[Tensor] = ()
) -> None:
    """Take one optimizer step; the joint gradient norm of ``clipped`` is at most 1."""
    optimizer.zero_grad()
    loss.backward()
    if clipped:
        torch.nn.utils.clip_grad_norm_(clipped, 1.0)
    optimizer.step()
    if schedule is not None:
        schedule.step()


def one_cycle(optimizer: torch.optim.Optimizer, steps: int, warm_up: int) -> LambdaLR:
    """A learning rate that rises for ``warm_up`` steps and falls to zero along a cosine."""

    def share(step: int) -> float:
        return min(1.0, (step + 1) / warm_up) * (0.5 + 0.5 * math.cos(math.pi * step / steps))

    return LambdaLR(optimizer, share)
