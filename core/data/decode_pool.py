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
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
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
            # Ctrl-C is for the app, which ends its decoders by closing their input. Not a session: Linux shares cores among those.
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


class Upload:
    """Photos that belong together, and are framed alike; several of these take turns."""

    def __init__(self, pool: DecodePool, framing: Framing) -> None:
        self._pool, self.framing = pool, framing
        self.waiting: deque[tuple[str, bytes, Future[DecodedPhoto]]] = deque()  # names and contents
        self.seconds, self.pixels, self._photos = 0.0, UPLOAD_PIXELS, 0  # taken; left; submitted

    def submit(self, name: str, content: bytes) -> Future[DecodedPhoto]:
        """Decode one photo when it is its turn; the future raises PhotoError where that cannot be done."""
        future: Future[DecodedPhoto] = Future()
        with self._pool.changed:
            self._photos += 1
            self.pixels += PIXELS_A_BYTE * len(content)
            if self.seconds > min(UPLOAD_SECONDS + SECONDS_A_PHOTO * self._photos, MOST_SECONDS):
                future.set_exception(PhotoError(f"{name}: {OUT_OF_TIME}"))
            else:
                self._pool.wait(self, (name, content, future))
        return future


class DecodePool:
    """Decoding processes, each with a thread that hands it photos."""

    def __init__(self, processes: int = PROCESSES) -> None:
        self._processes = processes
        self._turns: OrderedDict[Upload, None] = OrderedDict()  # with photos that wait, the next one first
        self.changed = threading.Condition()
        self._started = False

    @contextmanager
    def upload(self, framing: Framing) -> Iterator[Upload]:
        """Photos submitted in this block are decoded within it; what waits in the end is decoded no more."""
        upload = Upload(self, framing)
        try:
            yield upload
        finally:
            with self.changed:
                self._turns.pop(upload, None)
                for *_, future in upload.waiting:
                    future.cancel()
                upload.waiting.clear()

    def wait(self, upload: Upload, photo: tuple[str, bytes, Future[DecodedPhoto]]) -> None:
        """Put a photo at the end of its upload's line; the caller holds ``changed``."""
        if not self._started:
            self._started = True
            for number in range(self._processes):
                threading.Thread(target=self._work, name=f"decode-{number}", daemon=True).start()
        upload.waiting.append(photo)
        self._turns.setdefault(upload, None)
        self.changed.notify()

    def _work(self) -> None:
        process = _Process()
        while True:
            with self.changed:
                while not self._turns:
                    self.changed.wait()
                upload, _ = self._turns.popitem(last=False)
                name, content, future = upload.waiting.popleft()
                if upload.waiting:
                    self._turns[upload] = None
            if not future.set_running_or_notify_cancel():
                continue
            started = time.monotonic()
            try:
                future.set_result(process.decode(name, content, upload.framing, max(0, upload.pixels)))
            except BaseException as error:
                future.set_exception(error)
            with self.changed:
                upload.seconds += time.monotonic() - started
                upload.pixels -= process.cost
            del upload, content, future  # a photo is not kept until the next one comes


POOL = DecodePool()


def decode_photo(content: bytes, name: str, framing: Framing) -> DecodedPhoto:
    """One photo alone, in its turn; PhotoError where it cannot be decoded."""
    with POOL.upload(framing) as upload:
        return upload.submit(name, content).result()
