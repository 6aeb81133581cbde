"""What the C library does with memory that was freed; glibc's defaults are made for small pieces and for many cores.

Large pieces go back to the system at once and come back as pages that must be cleared first: half of the image tower's time
in a process that has just begun. Here they stay, and go back when the app is at rest.
"""

from __future__ import annotations

import ctypes
import sys

# Of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_ARENAS = 2
_LARGEST_KEPT = 32 * 2**20  # the most that glibc takes; the tower's largest activations of TOWER_BATCH photos are 20 MB
_KEPT_FREE = 128 * 2**20


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
