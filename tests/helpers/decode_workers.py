"""Finds the processes that decode photos."""

import contextlib

import psutil


def decode_workers(pid: int | None = None) -> set[int]:
    """The ids of the children of a process, by default this one, that decode photos."""
    found: set[int] = set()
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if any("decode_worker" in part for part in child.cmdline()):
                found.add(child.pid)
    return found
