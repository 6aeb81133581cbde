"""The process that decodes photos. It holds nothing but the photo at hand, and ends rather than take too much of anything.

It reads requests from its standard input and answers on its standard output: a line of JSON, then bytes. What it answers is
not believed further than that, for a hostile file may have taken it over.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Any, BinaryIO

from core.common.errors import PhotoError
from core.common.images import Framing
from core.common.priority import step_back
from core.data.image_io import open_photo, thumbnail

if sys.platform != "win32":
    import resource

MAX_MEMORY = 1024 * 2**20  # bytes of address space: a picture of 64 megapixels, once more while it is made smaller, and Python
OUT_OF_PIXELS = "its upload has far more pixels than bytes; send it on its own."
MAX_SECONDS = 10  # of processor time for one photo; the largest that are taken need three


def limit_memory() -> None:
    """From here on, asking for more memory fails, and unread answers end the process; not on Windows."""
    if sys.platform != "win32":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the app ended: no trace of a broken pipe
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_seconds(seconds: int) -> None:
    """The process is killed after so many more seconds of processor time."""
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + seconds, resource.RLIM_INFINITY))


def decoded(name: str, content: bytes, framing: Framing, most: int) -> tuple[dict[str, Any], bytes]:
    """What is answered for one photo: sizes of what follows, and the pixels and the thumbnail; or an error. In either case
    "cost", the pixels that were decoded: none of a file that has more than ``most``."""
    cost = 0

    def looked(pixels: int) -> None:
        nonlocal cost
        if pixels > most:
            raise PhotoError(f"{name}: {OUT_OF_PIXELS}")
        cost = pixels

    try:
        image = open_photo(content, name, looked)
        small, pixels = thumbnail(image), framing(image).tobytes()
        head = {"pixels": len(pixels), "thumbnail": len(small), "taken": image.info.get("taken"), "cost": cost}
        return head, pixels + small
    except PhotoError as error:
        words = str(error)
    except MemoryError:
        words = f"{name}: decoding the image takes too much memory; save it again with another program."
    except Exception as error:  # whatever a photo's reading raises is this photo's refusal
        words = f"{name}: the image cannot be decoded ({type(error).__name__})."
    return {"error": words, "cost": cost}, b""


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Decode photo after photo until the requests end."""
    while line := requests.readline():
        request = json.loads(line)
        content = requests.read(request["size"])
        limit_seconds(MAX_SECONDS)
        head, body = decoded(request["name"], content, Framing(*request["framing"]), request["most"])
        del content
        answers.write(json.dumps(head).encode() + b"\n")
        answers.write(body)
        answers.flush()


if __name__ == "__main__":
    step_back()
    limit_memory()
    serve(sys.stdin.buffer, sys.stdout.buffer)
