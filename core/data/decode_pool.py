"""A pool of processes that decode photos, shared by all uploads of this process. Uploads take turns, photo by photo.

Decoders are written in C and read files from strangers. In a separate process, a crash, a time-out or too much memory costs one
photo only. (The standard library's pools import the main module into every process: for the app, torch and Gradio. They also
end completely when one process ends.)
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

from core.common.images import Framing
from core.data.photo_errors import from_json, photo_error

ROOT = Path(__file__).parents[2]
PROCESSES = min(4, os.cpu_count() or 1)
MAX_SECONDS = 10  # processor time for one photo; the largest accepted photos need three
WALL_SECONDS = 6 * MAX_SECONDS  # limit for one photo, for busy machines and systems that cannot limit processor time
UPLOAD_SECONDS, SECONDS_A_PHOTO, MOST_SECONDS = 60, 1, 1_200  # limit for decoding all photos of an upload
STARVED = 10  # decoders step back for answers: on a busy machine, a photo takes many times its processor time
UPLOAD_PIXELS, PIXELS_A_BYTE = 200_000_000, 500  # also per upload; screenshots have 300 pixels per byte, photos fewer than 50

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecodedPhoto:
    """A decoded photo: height x width x 3 bytes for the backbone, an upright JPEG thumbnail, and the EXIF time if known."""

    pixels: bytes
    thumbnail: bytes
    taken: str | None  # "YYYY:MM:DD HH:MM:SS"


class _Process:
    """A decoding process. It starts with the first photo, and again after it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.cost = 0  # pixels decoded for the last file
        self.seconds: float | None = None  # processor time for it; None if its decoder ended

    def decode(self, name: str, content: bytes, framing: Framing, most: int = UPLOAD_PIXELS) -> DecodedPhoto:
        """Decode a photo of at most ``most`` pixels. Raises PhotoError: when it is no photo, or it ended the process."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = self._start()
        assert process.stdin and process.stdout
        head = {"name": name, "size": len(content), "framing": [*vars(framing).values()], "most": most, "seconds": MAX_SECONDS}
        self.cost, self.seconds = 0, None
        watchdog = threading.Timer(WALL_SECONDS, process.kill)
        watchdog.start()
        try:
            process.stdin.write(json.dumps(head).encode() + b"\n")
            process.stdin.write(content)
            process.stdin.flush()
            answer = json.loads(process.stdout.readline(10_000))
            self.cost, self.seconds = max(0, int(answer["cost"])), max(0.0, float(answer["seconds"]))
            if "error" in answer:
                raise photo_error(name, from_json(answer["error"]))
            pixels = process.stdout.read(3 * framing.width * framing.height)
            thumbnail = process.stdout.read(min(int(answer["thumbnail"]), 2**20))
            if (len(pixels), len(thumbnail)) != (answer["pixels"], answer["thumbnail"]):
                raise ValueError("the answer is cut off")
            return DecodedPhoto(pixels, thumbnail, answer["taken"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            status = self._end(process)
            log.info("a decoder ended with status %s", status)
            raise photo_error(name, "CORE_TOO_LONG" if status in (-9, -24) else "CORE_CRASHED") from None  # SIGKILL, SIGXCPU
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
            # Own group: Ctrl-C reaches the app only; closed inputs end the decoders. No session: Linux shares cores among them.
            process_group=0,
        )

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        """End the process. Returns its exit status."""
        self._process = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        with contextlib.suppress(OSError), process:  # closes the pipes; input that was not sent raises an error
            process.kill()
        return process.wait()


@dataclass(eq=False)
class Upload:
    """Photos added together, with one framing. Several uploads take turns."""

    framing: Framing
    waiting: int = 0  # photos that wait for their turn
    photos: int = 0  # photos so far
    seconds: float = 0.0  # decoding time so far, in which a starved decoder counts less
    pixels: int = field(default_factory=lambda: UPLOAD_PIXELS)  # remaining pixels


class DecodePool:
    """Decoding processes. Any number of threads may use them."""

    def __init__(self, processes: int = PROCESSES) -> None:
        self._free = [_Process() for _ in range(processes)]
        self._turns: OrderedDict[Upload, None] = OrderedDict()  # uploads with waiting photos, the next one first
        self._changed = threading.Condition()

    def decode(self, upload: Upload, name: str, content: bytes) -> DecodedPhoto:
        """Decode one photo of an upload, in turn. Raises PhotoError: when it cannot be decoded, or the upload took too long."""
        with self._changed:
            upload.photos += 1
            upload.pixels += PIXELS_A_BYTE * len(content)
            if upload.seconds > min(UPLOAD_SECONDS + SECONDS_A_PHOTO * upload.photos, MOST_SECONDS):
                raise photo_error(name, "CORE_OUT_OF_TIME")
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
                wall = time.monotonic() - started
                upload.seconds += wall if process.seconds is None else max(process.seconds, wall / STARVED)
                upload.pixels -= process.cost
                self._free.append(process)
                self._changed.notify_all()


POOL = DecodePool()


def decode_photo(content: bytes, name: str, framing: Framing) -> DecodedPhoto:
    """Decode a single photo, as an upload of its own. Raises PhotoError: when it cannot be decoded."""
    return POOL.decode(Upload(framing), name, content)
