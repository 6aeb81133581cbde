"""What a Python process takes: seconds by the clock and of the processor, and its memory."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from core.common.paths import ROOT


@dataclass(frozen=True)
class Finished:
    code: int  # exit status
    out: str
    errors: str
    taken: dict[str, float]  # "wall" and "cpu" in seconds, "peak MB" of resident memory


def finished(*arguments: str | Path, limit: Callable[[], None] | None = None) -> Finished:
    """Run Python with these arguments. ``limit`` is called in the new process first."""
    peak, before, started = 0, os.times(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, *map(str, arguments)]
        process = psutil.Popen(command, cwd=ROOT, stdout=out, stderr=errors, preexec_fn=limit)
        while process.poll() is None:
            # Polled, since the system's figure for an ended process includes memory of the process that started it.
            with suppress(psutil.NoSuchProcess):
                peak = max(peak, process.memory_info().rss)
            time.sleep(0.02)
        wall, after = time.perf_counter() - started, os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        taken = {"wall": round(wall, 2), "cpu": round(cpu, 2), "peak MB": round(peak / 1e6)}
        out.seek(0)
        errors.seek(0)
        return Finished(process.returncode, out.read(), errors.read(), taken)
