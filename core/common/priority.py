"""Answers go first: threads that only prepare photos run at a lower priority."""

import os
import sys

NICE = 10  # a tenth of a busy core's time


def step_back() -> None:
    """Lower the priority of this thread and of those that it starts. Only on Linux does each thread have its own priority."""
    if sys.platform == "linux":
        os.nice(NICE)
