"""Timing that survives a busy machine: everything in turn, round by round, wall clock and processor time.

What is compared is measured in the same round, so that other work on the machine hits both alike. Processor time counts only
what this process itself computed (threads that wait sleep, see ``core/__init__.py``).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """Seconds of each round: ``wall`` clock, and ``cpu`` of all threads of this process together."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    def best(self, count: int = 1) -> dict[str, float]:
        """Milliseconds of the fastest round, of one of ``count`` things that were done in it."""
        return {"wall": _rounded(1000 * min(self.wall) / count), "cpu": _rounded(1000 * min(self.cpu) / count)}

    def median(self, count: int = 1) -> dict[str, float]:
        """Milliseconds of the round in the middle, of one of ``count`` things that were done in it."""
        middle = {"wall": statistics.median(self.wall), "cpu": statistics.median(self.cpu)}
        return {name: _rounded(1000 * seconds / count) for name, seconds in middle.items()}

    def over(self, other: Times, factor: float = 1.0) -> dict[str, float]:
        """How many times longer this took than ``factor`` times the other: the median over rounds."""
        pairs = {"wall": zip(self.wall, other.wall, strict=True), "cpu": zip(self.cpu, other.cpu, strict=True)}
        return {name: _rounded(statistics.median(a / (factor * b) for a, b in both)) for name, both in pairs.items()}


def in_turn(variants: Mapping[str, Callable[[], object]], rounds: int, warm: bool = True) -> dict[str, Times]:
    """Run all variants one after the other, ``rounds`` times; ``warm``: once before without looking at the clock."""
    if warm:
        for run in variants.values():
            run()
    laps: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            laps[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: Times(*zip(*taken, strict=True)) for name, taken in laps.items()}


def _rounded(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")
