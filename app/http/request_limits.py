"""What a call passes before Gradio reads it: how large it is, and whether it can be one at all."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Generator

import ijson
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import texts
from app.http.allowlist import NAME, NAMES, announced, is_upload

log = logging.getLogger(__name__)
MAX_BYTES = 4 * 2**20
MAX_VALUES = 50_000  # a thousand files are some twenty thousand, names of fields counted
SECONDS = 60  # for one call to arrive
BAD, TOO_SLOW, TOO_LARGE, BAD_FIELDS = 400, 408, 413, 422


class Calls:
    """ASGI middleware for all that is posted except uploads, which ``UploadGate`` is for.

    A call is a JSON object of at most ``MAX_BYTES``. Invalid ones get an error message.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or is_upload(scope):
            await self.app(scope, receive, send)
            return
        body, refused = await _read(scope, receive)
        if refused is None:
            refused = await asyncio.to_thread(_flaw, body)  # some milliseconds, in which the server does other things
        if refused is not None:
            await refused(scope, receive, send)
            return
        read: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        started = False

        async def again() -> Message:
            return read.pop() if read else await receive()

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, again, noted)
        except Exception as error:  # a call that names what is not there
            if started:
                raise
            log.warning("a call to %s failed: %s: %s", scope["path"], type(error).__name__, error)
            await _refusal(texts.CALL_UNKNOWN, BAD)(scope, receive, send)


async def _read(scope: Scope, receive: Receive) -> tuple[bytes, JSONResponse | None]:
    """The body, or why it is not taken. What is too much is dropped as it comes: a client that still sends reads no answer."""
    pieces: list[bytes] = []
    size, more = 0, True
    large = (announced(scope) or 0) > MAX_BYTES
    try:
        async with asyncio.timeout(SECONDS):
            while more:
                message = await receive()
                more = message["type"] == "http.request" and message.get("more_body", False)
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if large := large or size > MAX_BYTES:
                    pieces.clear()
    except TimeoutError:
        if not large:
            return b"", _refusal(texts.CALL_SLOW, TOO_SLOW)
    if large:
        return b"", _refusal(texts.CALL_LARGE.format(mb=MAX_BYTES // 2**20), TOO_LARGE)
    return b"".join(pieces), None


class _TooMany(Exception):
    pass


def _counted(most: int) -> Generator[None, tuple[str, object], None]:
    """Takes so many values and names from a parser, and ends it there."""
    for _ in range(most):
        yield
    raise _TooMany


def _flaw(body: bytes) -> JSONResponse | None:
    """Why a body is no call; None where it may be one. Takes as long as the body is long, and keeps nothing of it meanwhile."""
    values = _counted(2 * MAX_VALUES)  # a list has an end, too
    next(values)
    parser = ijson.basic_parse_coro(values, use_float=True)
    try:
        parser.send(body)
        parser.close()
        call = json.loads(body)
    except _TooMany:
        return _refusal(texts.CALL_MANY.format(n=f"{MAX_VALUES:,}"), TOO_LARGE)
    except (ijson.JSONError, ValueError, RecursionError):
        call = None
    if not isinstance(call, dict):
        return _refusal(texts.CALL_NOT_JSON, BAD)
    names = [call[key] for key in NAMES & call.keys() if call[key] is not None]
    if not all(isinstance(name, str) and re.fullmatch(NAME, name) for name in names):
        return _refusal(texts.CALL_NAME, BAD)
    return None


async def refuse_fields(_: Request, __: Exception) -> JSONResponse:
    """In the place of FastAPI's answer to fields that are missing or of another type, which repeats what was sent."""
    return _refusal(texts.CALL_FIELDS, BAD_FIELDS)


def _refusal(words: str, status: int) -> JSONResponse:
    # As FastAPI says it; the page and gradio_client show "detail" and "error".
    return JSONResponse({"detail": words, "error": words}, status)
