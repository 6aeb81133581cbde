"""Answers go before photos: what only prepares photos leaves busy cores to the rest."""

from __future__ import annotations

import os
import sys

NICE = 10  # a tenth of a busy core's time


def step_back() -> None:
    """Give this thread, and those that it starts, a lower priority; on Linux, the one system where a thread has its own."""
    if sys.platform == "linux":
        os.nice(NICE)
