"""Use of the processor and its memory: threads, compute dtype, and the heap.

Heap: glibc returns large blocks to the system at once, and the system must clear them before it hands them out again. In torch
this takes a fifth of the image tower's time. Here the process keeps them, and returns them when the app is idle. After 24
visitors in 12 threads, the process has 905 MB instead of 1,201 MB.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from core.common.errors import UsageError

DTYPE_VARIABLE = "SG_LORA_DTYPE"
# Parameters of mallopt(3)
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_ARENAS = 2
_LARGEST_KEPT = 32 * 2**20  # the most that glibc accepts; the tower's largest activations of TOWER_BATCH photos are 20 MB
_KEPT_FREE = 128 * 2**20


def compute_dtype(device: torch.device) -> torch.dtype:
    """The dtype of the heavy matrix products on a device, in training and in search.

    On a CPU with native bfloat16: bfloat16 (about 3 times faster; emulated, it is 2 to 3 times slower). On other CPUs: float32.
    On a GPU: bfloat16 if native, else float16. ``SG_LORA_DTYPE=float32`` in the environment selects float32 everywhere.
    """
    if wanted := os.environ.get(DTYPE_VARIABLE):
        if wanted != "float32":
            raise UsageError(f"{DTYPE_VARIABLE} is {wanted}: set it to float32, or leave it out.")
        return torch.float32
    if device.type == "cpu":
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
        return torch.bfloat16 if native else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32


@contextmanager
def one_core(
    count: Callable[[], int] = torch.get_num_threads, limit: Callable[[int], None] = torch.set_num_threads
) -> Iterator[None]:
    """Run the block on one core, which is best for one sentence.

    Threads that sleep between small steps take longer to wake than they save (times: docs/performance.md). The result does not
    depend on the number of cores. ``count`` and ``limit`` get and set the number of threads of the calling thread.
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
    """Keep freed memory for reuse, and let all threads share two heaps. By default glibc has eight heaps per core, and each
    keeps the most it ever held. Call this before any thread starts."""
    if libc := _libc():
        libc.mallopt(_ARENA_MAX, _ARENAS)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT_FREE)


def give_back() -> None:
    """Return freed memory to the system."""
    if libc := _libc():
        libc.malloc_trim(0)
