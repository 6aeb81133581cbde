"""How errors reach people: messages written for them stay as they are; for others, a general message and a log entry."""

import errno
import logging
import re
import sys
import traceback
from contextlib import suppress
from typing import Any, TextIO

import h11
import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.languages import texts
from app.server.routes import BAD, refusal, route_of
from core.common.errors import StudioError, brief

log = logging.getLogger(__name__)
DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
PATH = re.compile(r"(?<![\w/.])/(?:[^\s/:,;()'\"]+/)+([^\s/:,;()'\"]+)")
EVENT = re.compile(rb"(event: error\n)?data: (?=\{)")  # Gradio sends each message of a stream on its own
LONGEST = 400  # characters of a message


def message_of(error: Exception, doing: str) -> str:
    """The message for people. The log gets the details of an error that was not written for them."""
    if isinstance(error, StudioError):
        return without_paths(texts.of(error))
    full = isinstance(error, OSError) and error.errno in DISK_TROUBLE
    log.error("%s failed: %s", doing, error, exc_info=None if full else error)
    return texts.DISK_TROUBLE if full else texts.UNEXPECTED


def without_paths(message: str) -> str:
    """A message that shows files by name, not by their path on the server."""
    return PATH.sub(r"\1", message)


class OneLine:
    """Standard error, with a line in the log for each trace that Gradio prints: an event fails if its values are unusable."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        error = sys.exc_info()[1]
        if error is None or sys._getframe(1).f_globals.get("__name__") != traceback.__name__:
            return self._stream.write(text)
        if text == traceback.format_exception_only(error)[-1]:  # the end of the trace
            log.warning("an event failed: %s", brief(" ".join(text.split())))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def without_trace(record: logging.LogRecord) -> bool:
    """A filter of logs. A client that breaks HTTP's rules in the middle of a request costs one line."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, h11.ProtocolError):
        record.msg, record.args, record.exc_info = f"{type(error).__name__}: {error}", (), None
    return True


class Answers:
    """ASGI middleware for what Gradio fails at. The client gets a short message without paths, or the end of the stream that
    had begun. The log gets one line."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def short(message: Message) -> None:
            nonlocal started
            started = True
            if b'"error":' in (body := message.get("body", b"")) and (begin := EVENT.match(body)):
                message = {**message, "body": begin[0] + _short(body[begin.end() :])}
            await send(message)

        try:
            await self.app(scope, receive, short)
        except Exception as error:  # a name or header that Gradio cannot use, or a stream whose client is gone
            if scope["type"] != "http":
                raise
            log.warning("a request for %s failed: %s: %s", route_of(scope)[:100], type(error).__name__, brief(str(error)))
            if started:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await refusal(texts.REQUEST_UNUSABLE, BAD)(scope, receive, send)


def _short(event: bytes) -> bytes:
    """An event with an error message that has no path and repeats no long value."""
    with suppress(ValueError):
        output = (parsed := orjson.loads(event)).get("output", parsed)
        if isinstance(output, dict) and "error" in output and not output.get("data"):
            words = str(output["error"] or texts.VALUES_UNUSABLE)  # handlers tell their errors, so Gradio could not call one
            output["error"] = without_paths(f"{words[: LONGEST - 1]}…" if len(words) > LONGEST else words)
            return orjson.dumps(parsed) + b"\n\n"
    return event
