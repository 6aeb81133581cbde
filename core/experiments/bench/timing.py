"""Timing on a busy machine: all variants in turn, round by round, by wall clock and processor time.

Each round runs every variant, so that other work on the machine affects all alike. Processor time counts only the work of this
process: its waiting threads sleep (``core/__init__.py``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np


def in_turn(variants: Mapping[str, Callable[[], object]], rounds: int, warm: bool = True) -> dict[str, np.ndarray]:
    """Run all variants one after the other, ``rounds`` times; ``warm``: run each once before, untimed.

    Returns the seconds [rounds, 2] of each: wall clock, and processor time over all threads of this process.
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
    """Figures [2] by clock, "wall" and "cpu", to four significant digits: more would be noise."""
    return {name: float(f"{value:.4g}") for name, value in zip(("wall", "cpu"), values, strict=True)}


def times_longer(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """How many times as long ``one`` took as ``other``, as the median over rounds."""
    return clocks(np.median(one / other, 0))
