"""What a call must pass before Gradio reads it: a limit on its size, and a check that it can be a call at all."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Generator

import ijson
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import texts
from app.http.allowlist import NAME, NAMES, announced, is_upload, json_refusal

MAX_BYTES = 4 * 2**20
MAX_VALUES = 50_000  # a thousand files are about 20,000, with the names of fields
SECONDS = 60  # time for one call to arrive
BAD, TOO_SLOW, TOO_LARGE, BAD_FIELDS = 400, 408, 413, 422


class Calls:
    """ASGI middleware for every POST except uploads, which ``UploadGate`` checks.

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
            refused = await asyncio.to_thread(_flaw, body)  # takes milliseconds; the server does other things meanwhile
        if refused is not None:
            await refused(scope, receive, send)
            return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, again, send)


async def _read(scope: Scope, receive: Receive) -> tuple[bytes, JSONResponse | None]:
    """The body, or the answer that rejects it. A large body is read and dropped: a client that still sends reads no answer."""
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
            return b"", json_refusal(texts.CALL_SLOW, TOO_SLOW)
    if large:
        return b"", json_refusal(texts.CALL_LARGE.format(mb=MAX_BYTES // 2**20), TOO_LARGE)
    return b"".join(pieces), None


class _TooMany(Exception):
    pass


def _counted(most: int) -> Generator[None, tuple[str, object], None]:
    """Take ``most`` values and names from a parser, then end it."""
    for _ in range(most):
        yield
    raise _TooMany


def _flaw(body: bytes) -> JSONResponse | None:
    """Why a body is no call; None if it may be one. The count takes time by the body's length, and keeps none of it."""
    values = _counted(2 * MAX_VALUES)  # twice: a list has an end too
    next(values)
    parser = ijson.basic_parse_coro(values, use_float=True)
    try:
        parser.send(body)
        parser.close()
        call = json.loads(body)
    except _TooMany:
        return json_refusal(texts.CALL_MANY.format(n=f"{MAX_VALUES:,}"), TOO_LARGE)
    except (ijson.JSONError, ValueError, RecursionError):
        call = None
    if not isinstance(call, dict):
        return json_refusal(texts.CALL_NOT_JSON, BAD)
    names = [call[key] for key in NAMES & call.keys() if call[key] is not None]
    if not all(isinstance(name, str) and re.fullmatch(NAME, name) for name in names):
        return json_refusal(texts.CALL_NAME, BAD)
    return None


async def refuse_fields(_: Request, __: Exception) -> JSONResponse:
    """Replaces FastAPI's answer to missing or mistyped fields, which repeats what was sent."""
    return json_refusal(texts.CALL_FIELDS, BAD_FIELDS)
