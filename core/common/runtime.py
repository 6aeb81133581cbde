"""How many threads a computation takes: the cores are shared among those that run at once, and one is enough for a sentence.

Two threads finish one computation sooner. Several computations with two threads each only wait for one another: a search of
20 photos then costs 13 % more processor time, and indexing 20 photos half as much again (two cores, torch 2.13).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

_CORES = torch.get_num_threads()
_running = 0
_lock = threading.Lock()


@contextmanager
def shared_cores() -> Iterator[None]:
    """In this block torch gets the cores that are this computation's part: all where it runs alone, at least one.

    The number of threads is the calling thread's own; what began earlier keeps what it has.
    """
    global _running
    with _lock:
        _running += 1
        part = max(1, _CORES // _running)
    try:
        if torch.get_num_threads() != part:
            torch.set_num_threads(part)
        yield
    finally:
        with _lock:
            _running -= 1


@contextmanager
def one_core(
    count: Callable[[], int] = torch.get_num_threads, limit: Callable[[int], None] = torch.set_num_threads
) -> Iterator[None]:
    """In this block the calling thread computes alone, as is best for one sentence.

    Threads that sleep between small steps take longer to wake than they save: from a sentence to an adapter it is 21 ms with
    two and 14 with one. What comes of it does not depend on how many cores there are.

    Args:
        count, limit: say and set how many threads the calling thread computes with; torch's where nothing else is given.
    """
    threads = count()
    limit(1)
    try:
        yield
    finally:
        limit(threads)
