"""The log of the app, which counts repeated messages instead of writing them all."""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Any, TextIO

from core.common.text import printable

AT_ONCE = 5  # equal messages that are written per minute
SECONDS = 60.0
LONGEST, MOST_LINES = 500, 200  # characters of a line that is printed; lines printed a minute


class CountRepeats(logging.Filter):
    """Pass the first messages of a kind in each minute. A later message says how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        # (start of the minute, count) by logger, level and text
        self._kinds: dict[tuple[str, int, str], tuple[float, int]] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        kind, now = (record.name, record.levelno, str(record.msg)[:200]), time.monotonic()
        with self._lock:
            since, count = self._kinds.get(kind, (now, 0))
            left_out = max(0, count - AT_ONCE)
            if now - since > SECONDS:
                since, count = now, 0
            self._kinds[kind] = since, count + 1
            if len(self._kinds) > 1_000:
                self._kinds.clear()
        if count == 0 and left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out:,} more like this in the last minute or so)", ()
        return count < AT_ONCE


class Printable(logging.Formatter):
    """Format a message on one line without terminal codes, whatever a visitor sent."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record)).replace("\n", "\\n")

    def formatException(self, ei: Any) -> str:
        return printable(super().formatException(ei))


class Plain:
    """A stream for what is printed past the log: short, and without terminal codes. Gradio prints traces of its components'
    errors, which repeat a visitor's value."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._since, self._count = time.monotonic(), 0  # lines of this minute

    def write(self, text: str) -> int:
        if time.monotonic() - self._since > SECONDS:
            self._since, self._count = time.monotonic(), 0
        lines = text.split("\n", MOST_LINES)[: max(0, MOST_LINES - self._count)]
        self._count += len(lines) - 1
        self._stream.write("\n".join(printable(line[:LONGEST]) for line in lines))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def set_up_logs() -> None:
    logging.basicConfig(level=logging.INFO)
    sys.stderr = Plain(sys.stderr)  # type: ignore[assignment]
    logging.getLogger("httpx").setLevel(logging.WARNING)
    repeats = CountRepeats()
    for handler in logging.getLogger().handlers:
        handler.setFormatter(Printable("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handler.addFilter(repeats)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).addFilter(repeats)  # uvicorn has its own handlers
