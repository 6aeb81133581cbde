"""A pool of processes that decode photos, shared by all uploads of this process.

Decoders are written in C and read files from strangers. In a separate process, a crash, a time-out or too much memory costs one
photo only. (The standard library's pools import the main module into every process: for the app, torch and Gradio. They also
end completely when one process ends.)
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from core.common.errors import PhotoError
from core.common.images import Framing
from core.data.image_io import from_json, photo_error

ROOT = Path(__file__).parents[2]
PROCESSES = min(4, os.cpu_count() or 1)
MAX_SECONDS = 10  # processor time for one photo; the largest accepted photos need three
WALL_SECONDS = 6 * MAX_SECONDS  # limit for one photo, for busy machines and systems that cannot limit processor time
UPLOAD_SECONDS, SECONDS_A_PHOTO, MOST_SECONDS = 60, 1, 1_200  # limit for decoding all photos of an upload
# Pixels of an upload. Strong compression leaves a photo a byte for 20 pixels; 34 bytes may claim 33 megapixels.
UPLOAD_PIXELS, PIXELS_A_BYTE = 300_000_000, 40
IN_A_ROW = 50  # files in a row that end an upload

MAX_WORDS, MAX_WORD = 64, 60  # keywords of a photo, and their characters
MAX_HEAD = 50_000  # bytes of the first line of an answer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecodedPhoto:
    """A decoded photo: height x width x 3 bytes for the backbone, an upright JPEG thumbnail, the EXIF time if known, and the
    keywords in the file."""

    pixels: bytes
    thumbnail: bytes
    taken: str | None  # "YYYY:MM:DD HH:MM:SS"
    area: int  # pixels of the file
    keywords: tuple[str, ...] = ()


class _Process(threading.local):
    """The decoding process of a thread. It starts with the first photo, and again after it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.seconds: float | None = None  # processor time for the last file; None if its decoder ended

    def decode(self, name: str, content: bytes, framing: Framing) -> DecodedPhoto:
        """Decode a photo. Raises PhotoError: when it is no photo, or it ended the process."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = self._start()
        assert process.stdin and process.stdout
        head = {"name": name, "size": len(content), "framing": [*vars(framing).values()], "seconds": MAX_SECONDS}
        self.seconds = None
        watchdog = threading.Timer(WALL_SECONDS, process.kill)
        watchdog.start()
        try:
            process.stdin.write(json.dumps(head).encode() + b"\n")
            process.stdin.write(content)
            process.stdin.flush()
            answer = json.loads(process.stdout.readline(MAX_HEAD))
            self.seconds = max(0.0, float(answer["seconds"]))
            if "error" in answer:
                raise photo_error(name, from_json(answer["error"]))
            pixels = process.stdout.read(3 * framing.width * framing.height)
            thumbnail = process.stdout.read(min(int(answer["thumbnail"]), 2**20))
            if (len(pixels), len(thumbnail)) != (answer["pixels"], answer["thumbnail"]):
                raise ValueError("the answer is cut off")
            words = [word for word in answer["keywords"] if isinstance(word, str) and len(word) <= MAX_WORD]
            area = max(0, int(answer["area"]))
            return DecodedPhoto(pixels, thumbnail, answer["taken"], area, tuple(words[:MAX_WORDS]))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            status = self._end(process)
            log.info("a decoder ended with status %s", status)
            if status in (-9, -24):  # SIGKILL, SIGXCPU
                raise photo_error(name, "decoding the image takes too long; save it again with another program.") from None
            raise photo_error(name, "the image is damaged: decoding it failed.") from None
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


PROCESS = _Process()
# The threads take photos in the order of arrival. An upload has few photos waiting (``read_ahead``), so all uploads take turns.
POOL = ThreadPoolExecutor(PROCESSES, "decode")


@dataclass
class Upload:
    """Photos added together, with one framing and limits on decoding. Any number of threads may use it."""

    framing: Framing
    photos: int = 0  # photos so far
    seconds: float = 0.0  # processor time so far
    pixels: int = 0  # that may still be decoded, beside UPLOAD_PIXELS
    unreadable: int = 0  # since the last photo that was read

    def decode(self, name: str, content: bytes) -> DecodedPhoto:
        """Decode one photo. Raises PhotoError: when it cannot be decoded, or the upload reached a limit."""
        self.photos += 1
        self.pixels += PIXELS_A_BYTE * len(content)
        if self.seconds > min(UPLOAD_SECONDS + SECONDS_A_PHOTO * self.photos, MOST_SECONDS):
            raise photo_error(name, "the upload reached its time limit; upload the remaining photos separately.")
        if self.pixels < -UPLOAD_PIXELS:
            raise photo_error(name, "the upload has too many pixels for its size; upload the remaining photos separately.")
        if self.unreadable >= IN_A_ROW:
            raise photo_error(name, "the {n} files before cannot be read; upload the remaining photos separately.", n=IN_A_ROW)
        try:
            photo = POOL.submit(self._decode, name, content).result()
        except PhotoError:
            self.unreadable += 1
            raise
        self.unreadable, self.pixels = 0, self.pixels - photo.area
        return photo

    def _decode(self, name: str, content: bytes) -> DecodedPhoto:
        started = time.monotonic()
        try:
            return PROCESS.decode(name, content, self.framing)
        finally:
            # Not the time by the clock: decoders step back for answers, and wait for a core on a busy machine.
            self.seconds += time.monotonic() - started if PROCESS.seconds is None else PROCESS.seconds


def decode_photo(name: str, content: bytes, framing: Framing) -> DecodedPhoto:
    """Decode a single photo, as an upload of its own. Raises PhotoError: when it cannot be decoded."""
    return Upload(framing).decode(name, content)
