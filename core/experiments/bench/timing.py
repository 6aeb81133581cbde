"""Timing that survives a busy machine: everything in turn, round by round, wall clock and processor time.

What is compared is measured in the same round, so that other work on the machine hits both alike. Processor time counts only
what this process itself computed (threads that wait sleep, see ``core/__init__.py``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np


def in_turn(variants: Mapping[str, Callable[[], object]], rounds: int, warm: bool = True) -> dict[str, np.ndarray]:
    """Run all variants one after the other, ``rounds`` times; ``warm``: once before without looking at the clock.

    Returns:
        seconds [rounds, 2] of each: wall clock, and processor time of all threads of this process together.
    """
    if warm:
        for run in variants.values():
            run()
    laps: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            laps[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: np.array(taken) for name, taken in laps.items()}


def clocks(values: np.ndarray) -> dict[str, float]:
    """Figures [2] of both clocks by name, to four significant digits: more would be noise."""
    return {name: float(f"{value:.4g}") for name, value in zip(("wall", "cpu"), values, strict=True)}


def times_longer(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """How many times longer one took than the other: the median over rounds."""
    return clocks(np.median(one / other, 0))
