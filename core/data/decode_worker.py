"""The process that decodes photos. It holds one photo at a time, within limits on time and memory.

It reads requests from standard input and answers on standard output: a line of JSON, then bytes. The parent process does not
trust the answers: a hostile file may have taken this process over.
"""

import json
import signal
import sys
import time
from io import BytesIO
from typing import Any, BinaryIO

from core.common.errors import PhotoError
from core.common.images import Framing
from core.common.messages import message
from core.common.priority import step_back
from core.data.decode_pool import MAX_WORD, MAX_WORDS
from core.data.image_io import NOT_DECODED, as_json, open_photo, reason_of, thumbnail
from core.data.keywords import levels
from core.data.sidecars import keywords_inside

if sys.platform != "win32":
    import resource

MAX_MEMORY = 1024 * 2**20  # bytes of address space: a picture of 64 megapixels, a copy while it is reduced, and Python


def limit_memory() -> None:
    """Limit memory, and end the process silently when no process reads its answers. Does nothing on Windows."""
    if sys.platform != "win32":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # no traceback of a broken pipe when the app has ended
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_seconds(seconds: int) -> None:
    """Let the system kill the process after this many more seconds of processor time. Does nothing on Windows."""
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + seconds, resource.RLIM_INFINITY))


def decoded(name: str, content: bytes, framing: Framing) -> tuple[dict[str, Any], bytes]:
    """The answer for one photo: a JSON head, and the bytes of the pixels and the thumbnail. The head has their sizes, or an
    error."""
    try:
        image = open_photo(content, name)
        small, pixels = thumbnail(image), framing(image).tobytes()
        words = [word for word in levels(keywords_inside(BytesIO(content))) if len(word) <= MAX_WORD][:MAX_WORDS]
        head = {"pixels": len(pixels), "thumbnail": len(small), "area": image.info["pixels"], "keywords": words}
        return head | {"taken": image.info.get("taken")}, pixels + small
    except PhotoError as error:
        reason = reason_of(error)
    except Exception as error:  # any error rejects this photo only
        reason = message(NOT_DECODED, error=type(error).__name__)
    return {"error": as_json(reason)}, b""


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Decode photos until the requests end. The head of each answer also has the "seconds" of processor time."""
    while line := requests.readline():
        request = json.loads(line)
        content = requests.read(request["size"])
        limit_seconds(request["seconds"])
        started = time.process_time()
        head, body = decoded(request["name"], content, Framing(*request["framing"]))
        head["seconds"] = time.process_time() - started
        del content
        answers.write(json.dumps(head).encode() + b"\n")
        answers.write(body)
        answers.flush()


if __name__ == "__main__":
    step_back()
    limit_memory()
    serve(sys.stdin.buffer, sys.stdout.buffer)
