"""How long each step took."""

from __future__ import annotations

import time


class Stopwatch:
    """Seconds by step, added up, from when it is made."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        """What passed since the last lap belongs to this step."""
        now = time.perf_counter()
        self.laps[step], self._last = self.laps.get(step, 0.0) + now - self._last, now
