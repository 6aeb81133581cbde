"""The last snapshots of a training, and when to stop it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor


class SnapshotWindow:
    """The last M vectors of a training, and those at which photos that train nothing fared best.

    Args:
        start: [P] where the training begins; the first snapshot.
        size: M.
        loss: of a vector [P] on the photos that decide when to stop; lower is better.
        patience: looks without an improvement after which to stop.
    """

    def __init__(self, start: Tensor, size: int, loss: Callable[[Tensor], float], patience: int) -> None:
        self._window: deque[Tensor] = deque([start], maxlen=size)
        self._loss, self._patience = loss, patience
        self.best = self.latest()
        self._lowest, self._waited = loss(start), 0

    def push(self, vector: Tensor) -> None:
        """Add the vector [P] after one more step."""
        self._window.append(vector)

    def latest(self) -> Tensor:
        """The last snapshots, [up to M, P]."""
        return torch.stack(list(self._window))

    def finished(self) -> bool:
        """Look at the mean of the last snapshots: it becomes ``best``, or patience wears off (True: stop now)."""
        snapshots = self.latest()
        now = self._loss(snapshots.mean(0))
        if now < self._lowest:
            self.best, self._lowest, self._waited = snapshots, now, 0
            return False
        self._waited += 1
        return self._waited >= self._patience
