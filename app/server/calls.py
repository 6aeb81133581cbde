"""What a call must pass before Gradio reads it: a limit on its size, and a check that it can be a call at all."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import texts
from app.server.rate_limit import Allowances, too_many
from app.server.routes import BAD, NAME, NAMES, is_kept, is_mcp, is_upload, refusal, size_of

MAX_BYTES = 4 * 2**20
MAX_VALUES, MAX_DEPTH = 50_000, 64  # a thousand files are about 20,000, with the names of fields
TOO_LARGE = 413
# Control characters but tab and line breaks, as JSON writes them, and those of ISO 6429 in UTF-8.
CONTROL = re.compile(rb"\\u00(?:0[0-8bcef]|1[0-9a-f]|7f|[89][0-9a-f])|\x7f|\xc2[\x80-\x9f]", re.IGNORECASE)


class Calls:
    """ASGI middleware for every POST except uploads: a JSON object of at most ``MAX_BYTES`` that names only kept files.

    ``allowances``: what an address may do; a call may begin a tab.
    """

    def __init__(self, app: ASGIApp, allowances: Allowances) -> None:
        self.app, self.allowances = app, allowances

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or is_upload(scope):
            await self.app(scope, receive, send)
            return
        body = await _read(scope, receive)
        # Checking takes milliseconds; the server does other things meanwhile.
        call = body if isinstance(body, JSONResponse) else await asyncio.to_thread(checked, body)
        if not isinstance(call, JSONResponse) and not is_mcp(scope):
            wait = self.allowances.tab(Request(scope), call.get("session_hash") or "")
            call = too_many(wait) if wait else call
        if isinstance(call, JSONResponse):
            await call(scope, receive, send)
            return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, again, send)


async def _read(scope: Scope, receive: Receive) -> bytes | JSONResponse:
    """The body, or the answer that rejects it. A large body is read and dropped: a client that still sends reads no answer."""
    body, large, more = bytearray(), (size_of(scope) or 0) > MAX_BYTES, True
    while more:
        message = await receive()
        more = message["type"] == "http.request" and message.get("more_body", False)
        if large := large or len(body) + len(message.get("body", b"")) > MAX_BYTES:
            body.clear()
        else:
            body += message.get("body", b"")
    return refusal(texts.CALL_LARGE.format(mb=MAX_BYTES // 2**20), TOO_LARGE) if large else bytes(body)


def checked(body: bytes) -> dict[str, Any] | JSONResponse:
    """The call in a body, or the answer that rejects it. Takes time by the body's length."""
    if b"\0" in body or CONTROL.search(body):  # another encoding than UTF-8, or codes that a terminal with the log would follow
        return refusal(texts.CALL_NOT_JSON, BAD)
    values, depth = measured(body)
    if values > MAX_VALUES or depth > MAX_DEPTH:
        return refusal(texts.CALL_MANY.format(n=f"{MAX_VALUES:,}"), TOO_LARGE)
    try:
        call = json.loads(body)
    except (ValueError, RecursionError):
        call = None
    if not isinstance(call, dict):
        return refusal(texts.CALL_NOT_JSON, BAD)
    names = [call[key] for key in NAMES & call.keys() if call[key] is not None]
    if not all(isinstance(name, str) and re.fullmatch(NAME, name) for name in names):
        return refusal(texts.CALL_NAME, BAD)
    paths = _paths(call)
    if any("://" in path for path in paths):
        return refusal(texts.NO_ADDRESSES, BAD)
    return call if all(map(is_kept, paths)) else refusal(texts.FILE_NOT_YOURS, BAD)


def measured(body: bytes) -> tuple[int, int]:
    """(brackets, commas and colons of a JSON text, how deep it goes). Text inside of quotes does not count."""
    signs = np.frombuffer(body.replace(rb"\\", b"").replace(rb"\"", b""), np.uint8)
    signs = signs[(np.cumsum(signs == ord('"'), dtype=np.int32) & 1) == 0]  # outside of strings
    opened, closed = np.isin(signs, list(b"[{")), np.isin(signs, list(b"]}"))
    depth = np.cumsum(opened.astype(np.int32) - closed).max(initial=0)
    return int(opened.sum() + np.isin(signs, list(b",:")).sum()), int(depth)


def _paths(call: dict[str, Any]) -> set[str]:
    """The paths of all files that a call names, in Gradio's form."""
    paths, waiting = set[str](), list[Any]([call])
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(path := value.get("path"), str):
                paths.add(path)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return paths


async def refuse_fields(_: Request, __: Exception) -> JSONResponse:
    """In place of FastAPI's answer to missing or mistyped fields, which repeats what was sent. (gradio_client cannot read a
    message with 422.)"""
    return refusal(texts.CALL_FIELDS, BAD)
