"""Processes that decode photos, shared by everything in this process that adds some; they take turns photo by photo.

Decoders are written in C and read whatever strangers send: here they may crash, take too long or take too much memory, and it
costs one photo. (The pools of the standard library import the main module into every process, which for the app is torch and
Gradio, and end as a whole when one process does.)
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from core.common.errors import PhotoError
from core.common.images import Framing
from core.data.decode_worker import MAX_SECONDS

ROOT = Path(__file__).parents[2]
PROCESSES = min(4, os.cpu_count() or 1)
WALL_SECONDS = 6 * MAX_SECONDS  # for one photo, on a busy machine and where processor time cannot be limited
UPLOAD_SECONDS, SECONDS_A_PHOTO, MOST_SECONDS = 60, 1, 1_200  # of decoding, for all photos of one upload together
UPLOAD_PIXELS, PIXELS_A_BYTE = 200_000_000, 500  # likewise; screenshots have 300 a byte, photos fewer than 50
TOO_LONG = "decoding the image takes too long; save it again with another program."
CRASHED = "the image is damaged: decoding it failed."
OUT_OF_TIME = "its upload took longer to decode than it may; send the rest on its own."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecodedPhoto:
    """What is left of a photo: height x width x 3 bytes as a backbone sees it, a small upright JPEG, and "YYYY:MM:DD HH:MM:SS"
    where the camera says so."""

    pixels: bytes
    thumbnail: bytes
    taken: str | None


class _Process:
    """One decoding process, started with its first photo and again whenever it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.cost = 0  # pixels that the last file had to decode

    def decode(self, name: str, content: bytes, framing: Framing, most: int = UPLOAD_PIXELS) -> DecodedPhoto:
        """Decode one photo that has at most so many pixels; PhotoError where it is none, or took the process with it."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = self._start()
        assert process.stdin and process.stdout
        head = {"name": name, "size": len(content), "framing": [*vars(framing).values()], "most": most}
        self.cost = 0
        watchdog = threading.Timer(WALL_SECONDS, process.kill)
        watchdog.start()
        try:
            process.stdin.write(json.dumps(head).encode() + b"\n")
            process.stdin.write(content)
            process.stdin.flush()
            answer = json.loads(process.stdout.readline(10_000))
            self.cost = max(0, int(answer["cost"]))
            if "error" in answer:
                raise PhotoError(str(answer["error"]))
            pixels = process.stdout.read(3 * framing.width * framing.height)
            thumbnail = process.stdout.read(min(int(answer["thumbnail"]), 2**20))
            if (len(pixels), len(thumbnail)) != (answer["pixels"], answer["thumbnail"]):
                raise ValueError("the answer is cut off")
            return DecodedPhoto(pixels, thumbnail, answer["taken"])
        except (OSError, ValueError, KeyError, TypeError):
            status = self._end(process)
            log.info("a decoder ended with status %s", status)
            raise PhotoError(f"{name}: {TOO_LONG if status in (-9, -24) else CRASHED}") from None  # SIGKILL, SIGXCPU
        finally:
            watchdog.cancel()

    def _start(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        return subprocess.Popen(
            [sys.executable, "-m", "core.data.decode_worker"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is for the app, which ends its decoders by closing their input. No session: Linux shares cores among them.
            process_group=0,
        )

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        """See that the process is gone; the answer is how it ended."""
        self._process = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        return process.wait()


@dataclass(eq=False)
class Upload:
    """Photos that belong together, and are framed alike; several uploads take turns."""

    framing: Framing
    waiting: int = 0  # photos
    photos: int = 0  # so far
    seconds: float = 0.0  # that they took
    pixels: int = field(default_factory=lambda: UPLOAD_PIXELS)  # that are left


class DecodePool:
    """Decoding processes, for as many threads as there are."""

    def __init__(self, processes: int = PROCESSES) -> None:
        self._free = [_Process() for _ in range(processes)]
        self._turns: OrderedDict[Upload, None] = OrderedDict()  # with photos that wait, the next one first
        self._changed = threading.Condition()

    def decode(self, upload: Upload, name: str, content: bytes) -> DecodedPhoto:
        """Decode one photo when it is its turn; PhotoError where that cannot be done."""
        with self._changed:
            upload.photos += 1
            upload.pixels += PIXELS_A_BYTE * len(content)
            if upload.seconds > min(UPLOAD_SECONDS + SECONDS_A_PHOTO * upload.photos, MOST_SECONDS):
                raise PhotoError(f"{name}: {OUT_OF_TIME}")
            upload.waiting += 1
            self._turns.setdefault(upload)
            self._changed.wait_for(lambda: self._free and next(iter(self._turns)) is upload)
            process = self._free.pop()
            upload.waiting -= 1
            del self._turns[upload]
            if upload.waiting:
                self._turns[upload] = None
            self._changed.notify_all()
        started = time.monotonic()
        try:
            return process.decode(name, content, upload.framing, max(0, upload.pixels))
        finally:
            with self._changed:
                upload.seconds += time.monotonic() - started
                upload.pixels -= process.cost
                self._free.append(process)
                self._changed.notify_all()


POOL = DecodePool()


def decode_photo(content: bytes, name: str, framing: Framing) -> DecodedPhoto:
    """One photo alone, in its turn; PhotoError where it cannot be decoded."""
    return POOL.decode(Upload(framing), name, content)
