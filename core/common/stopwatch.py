"""Measure the seconds of each step."""

import time


class Stopwatch:
    """Starts when it is created. ``laps`` holds seconds by step, in order of first laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        """Add the time since the last lap to this step."""
        now = time.perf_counter()
        self.laps[step], self._last = self.laps.get(step, 0.0) + now - self._last, now
