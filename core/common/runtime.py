"""How the processor and its memory are used: threads, compute dtype, and the heap.

Threads: several computations with two threads each wait for one another: indexing 20 photos costs half as much processor time
again (two cores, torch 2.13). So computations that run at once share the cores, and one core is enough for a sentence.

Heap: glibc gives large pieces back to the system at once, and they come back as pages that must be cleared first: half of the
image tower's time in a process that has just begun. Here they stay, and go back when the app is at rest.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

DTYPE_VARIABLE = "SG_LORA_DTYPE"
# Of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_ARENAS = 2
_LARGEST_KEPT = 32 * 2**20  # the most that glibc takes; the tower's largest activations of TOWER_BATCH photos are 20 MB
_KEPT_FREE = 128 * 2**20

_CORES = torch.get_num_threads()
_running = 0
_lock = threading.Lock()


def compute_dtype(device: torch.device | None = None) -> torch.dtype:
    """The dtype of the heavy matrix products on a device (None: the CPU), in training and in search.

    bfloat16 where a processor multiplies it natively (about 3x faster; emulated, it is 2 to 3 times slower), else float32. On
    GPUs bfloat16 where they have it, else float16. ``SG_LORA_DTYPE=float32`` in the environment: as if a device had neither.
    """
    if os.environ.get(DTYPE_VARIABLE) == "float32":
        return torch.float32
    kind = "cpu" if device is None else device.type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if kind != "cpu":
        return torch.float16 if kind == "mps" else torch.float32
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if native else torch.float32


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
    two and 14 with one. What comes of it does not depend on how many cores there are. ``count`` and ``limit`` say and set how
    many threads the calling thread computes with.
    """
    threads = count()
    limit(1)
    try:
        yield
    finally:
        limit(threads)


def _libc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "malloc_trim") else None  # musl has none


def set_up_heap() -> None:
    """Use freed memory again instead of returning it piece by piece, and let all threads share two heaps.

    By default there are eight heaps a core, and each keeps the most it ever held. Call it before threads begin.
    """
    if libc := _libc():
        libc.mallopt(_ARENA_MAX, _ARENAS)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT_FREE)


def give_back() -> None:
    """Return freed memory to the system."""
    if libc := _libc():
        libc.malloc_trim(0)
