"""What the C library keeps of memory that was freed; glibc gives little of it back unless it is asked to."""

from __future__ import annotations

import ctypes
import sys

_ARENA_MAX = -8  # M_ARENA_MAX of mallopt(3)
_ARENAS = 2


def _libc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "malloc_trim") else None  # musl has none


def few_arenas() -> None:
    """Let all threads share two heaps. By default there are eight a core, and each keeps the most it ever held."""
    if libc := _libc():
        libc.mallopt(_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Return freed memory to the system."""
    if libc := _libc():
        libc.malloc_trim(0)
