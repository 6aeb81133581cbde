"""What a call must pass before Gradio reads it: limits on how many an address sends and how large they are, and a check that it
can be a call at all."""

import asyncio
import itertools
import json
import re
from collections.abc import Mapping
from functools import partial
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from fastapi.exceptions import RequestValidationError
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.languages import texts
from app.server.hosts import address_of
from app.server.routes import API, BAD, HEARTBEAT, NAME, NAMES, TOO_LARGE, TOO_MANY, is_kept, is_upload, refusal, route_of

# A class of thirty behind one address stays below it: thirty people who think five seconds send 6 events a second, some with a
# second call, and at times all open the page at once.
CALLS = RateLimitItemPerSecond(300, 10)
UNFINISHED = 150  # events of an address that wait or run: thirty people with five each, as when all open the page at once
PROGRESS = "/upload_progress"  # the server remembers every name that is asked for
MAX_BYTES = 4 * 2**20
MAX_VALUES = 50_000  # a thousand files are about 20,000, with the names of fields
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # all but tab and line breaks: a terminal would follow them

NUMBER = "x-sg-call"
_numbers = itertools.count(1)


class RateLimit:
    """ASGI middleware that answers 429 to an address that calls, uploads or opens tabs too often, or has too many events."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.limiter = app, SlidingWindowCounterRateLimiter(MemoryStorage())
        self.events = WeakValueDictionary[str, WeakSet[Any]]()  # by address; the events hold them

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = ""
        if scope["type"] == "http":
            route, address, seconds = route_of(scope), address_of(Request(scope)), CALLS.get_expiry()
            counts = scope["method"] == "POST" or route.endswith(PROGRESS) or HEARTBEAT.fullmatch(route)
            if counts and not self.limiter.hit(CALLS, address):
                refused = texts.TOO_MANY_REQUESTS.format(n=seconds)
            elif scope["method"] == "POST" and route.startswith((f"{API}/queue/join", f"{API}/call/")):
                if len(events := self.events.setdefault(address, WeakSet())) >= UNFINISHED:
                    refused = texts.TOO_MANY_WAIT.format(most=UNFINISHED, n=seconds)
                else:  # Gradio keeps the scope until the event ends, whether it ran, failed or was dropped
                    events.add(event := partial(len, events))
                    scope = {**scope, "sg.event": event}  # the server keeps its own scope until the next request
        limited = refusal(refused, TOO_MANY, {"retry-after": str(seconds)}) if refused else self.app
        await limited(scope, receive, send)


class Calls:
    """ASGI middleware for every POST except uploads: a JSON object of at most ``MAX_BYTES`` that names only kept files."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or is_upload(scope):
            return await self.app(scope, receive, send)
        body, size = bytearray(), 0
        async for piece in Request(scope, receive).stream():  # to the end: a client that still sends reads no answer
            size += len(piece)
            body += piece if size <= MAX_BYTES else b""
        # Checking takes milliseconds; the server does other things meanwhile.
        too_large = refusal(texts.CALL_LARGE.format(mb=MAX_BYTES // 2**20), TOO_LARGE)
        refused = await asyncio.to_thread(problem, bytes(body)) if size <= MAX_BYTES else too_large
        MutableHeaders(scope=scope)[NUMBER] = str(next(_numbers))  # Gradio may begin calls in another order
        messages: list[Message] = [{"type": "http.request", "body": bytes(body)}]

        async def again() -> Message:
            return messages.pop() if messages else await receive()

        await (refused or self.app)(scope, again, send)


def number_of(headers: Mapping[str, str]) -> int:
    """The number of a call, in the order in which calls came in; 0 without the middleware."""
    return int(headers.get(NUMBER) or 0)


def problem(body: bytes) -> JSONResponse | None:
    """The answer that rejects a call; None if Gradio may read it. Takes time by the body's length."""
    many = refusal(texts.CALL_MANY.format(n=f"{MAX_VALUES:,}"), TOO_LARGE)
    if sum(map(body.count, b"[{")) > MAX_VALUES:  # to make so many lists would stop everybody for a second
        return many
    try:
        call = json.loads(body)
    except (ValueError, RecursionError):
        call = None
    if not isinstance(call, dict):
        return refusal(texts.CALL_NOT_JSON, BAD)
    waiting, count, paths = list[Any]([call]), 0, set[str]()
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and CONTROL.search(value):
            return refusal(texts.CALL_NOT_JSON, BAD)
        if isinstance(value, dict):
            if isinstance(path := value.get("path"), str):  # a file in Gradio's form
                paths.add(path)
            value = [*value, *value.values()]
        if isinstance(value, list):
            count += len(value)
            waiting += value
            if count > MAX_VALUES:
                return many
    names = [call[key] for key in NAMES & call.keys() if call[key] is not None]
    if not all(isinstance(name, str) and re.fullmatch(NAME, name) for name in names):
        return refusal(texts.CALL_NAME, BAD)
    if any("://" in path for path in paths):
        return refusal(texts.NO_ADDRESSES, BAD)
    return None if all(map(is_kept, paths)) else refusal(texts.FILE_NOT_YOURS, BAD)


async def refuse_fields(_: Request, error: Exception) -> JSONResponse:
    """In place of FastAPI's answer to wrong fields: it repeats what was sent, with 422, which gradio_client cannot read."""
    wrong = [(each["loc"], each["input"]) for each in error.errors()] if isinstance(error, RequestValidationError) else []
    if wrong == [(("body", "event_id"), None)]:  # the page cancels an event before it has sent it
        return JSONResponse({"success": True})
    return refusal(texts.CALL_FIELDS, BAD)
