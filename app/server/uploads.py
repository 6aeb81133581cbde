"""What an upload must pass: it has files only, and it has room. If not, Gradio removes its pieces."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import texts
from app.server.addresses import address_of
from app.server.rate_limit import RETRY_SECONDS, TOO_MANY, Allowances
from app.server.routes import is_mcp, is_upload, size_of

log = logging.getLogger(__name__)
AT_WORK = 40  # uploads of one address at a time
QUIET_SECONDS = 3  # a rejected client that sends nothing for so long waits for the answer
STEP = 4 * 2**20  # bytes between two looks at the disk
NO_LENGTH, TOO_LARGE, NO_ROOM = 411, 413, 507


class Uploads:
    """ASGI middleware around the routes that take files. All other requests pass.

    ``most``: most bytes of one upload. ``could_fit``: whether so many more bytes fit; 0: whether what came until
    now does. It deletes no visitor's data.
    """

    def __init__(self, app: ASGIApp, allowances: Allowances, most: int, could_fit: Callable[[int], bool]) -> None:
        self.app, self.allowances, self.most, self.could_fit = app, allowances, most, could_fit
        self.at_work: Counter[str] = Counter()  # by address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # What MCP clients send may hold files, too.
        if scope["type"] != "http" or not (is_upload(scope) or (is_mcp(scope) and scope["method"] == "POST")):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        address = address_of(request)
        self.at_work[address] += 1
        try:
            if refused := await self._refused(request):
                await _drain(receive)
                await refused(scope, receive, send)
            else:
                await self.app(scope, self._watched(request, receive) if is_upload(scope) else receive, send)
        except OSError as error:  # the disk is full, or a limit on file sizes is reached
            log.warning("an upload could not be written: %s", error)
            await PlainTextResponse(texts.DISK_FULL, NO_ROOM)(scope, receive, send)
        finally:
            self.at_work[address] -= 1
            self.at_work += Counter()  # drops zeros

    async def _refused(self, request: Request) -> PlainTextResponse | None:
        """The answer to an upload that is not taken. The page shows its text as it is."""
        address, size = address_of(request), size_of(request.scope)
        if size is None:
            return PlainTextResponse(texts.UPLOAD_NO_LENGTH, NO_LENGTH)
        if size > self.most:
            return PlainTextResponse(texts.UPLOAD_LARGE.format(mb=self.most // 2**20), TOO_LARGE)
        wait = RETRY_SECONDS if address and self.at_work[address] > AT_WORK else 0
        if wait := wait or self.allowances.megabytes(request, math.ceil(size / 2**20)):
            words = texts.TOO_MANY_REQUESTS.format(n=wait)
            return PlainTextResponse(words, TOO_MANY, {"retry-after": str(wait)})
        fits = await asyncio.to_thread(self.could_fit, size)
        return None if fits else PlainTextResponse(texts.DISK_FULL, NO_ROOM)

    def _watched(self, request: Request, receive: Receive) -> Receive:
        """Stop an upload by the error for which Gradio removes its pieces and answers with the error's text."""
        taken, check = 0, _files_only(request)

        async def watched() -> Message:
            nonlocal taken
            message = await receive()
            if message["type"] == "http.disconnect":
                raise MultiPartException("the visitor went away")
            check(body := message.get("body", b""))
            before, taken = taken, taken + len(body)
            # Others send meanwhile, so what fitted when this upload began may not fit now.
            if before // STEP < taken // STEP and not await asyncio.to_thread(self.could_fit, 0):
                raise MultiPartException(texts.DISK_FULL)
            return message

        return watched


async def _drain(receive: Receive) -> None:
    """Read and drop what comes: a browser that still sends would not read the answer."""
    with suppress(TimeoutError):
        while (await asyncio.wait_for(receive(), QUIET_SECONDS)).get("more_body"):
            pass


def _files_only(request: Request) -> Callable[[bytes], object]:
    """A function that stops an upload with a field that is no file: Gradio would keep it in memory, however large."""
    boundary = parse_options_header(request.headers.get("content-type"))[1].get(b"boundary")
    if not boundary:
        return len  # Gradio rejects it
    name, content, disposition = bytearray(), bytearray(), bytearray()

    def ended() -> None:
        if name.lower() == b"content-disposition":
            disposition[:] = content
        name.clear()
        content.clear()

    def finished() -> None:
        if b"filename" not in parse_options_header(bytes(disposition))[1]:
            raise MultiPartException(texts.FILES_ONLY)
        disposition.clear()

    return MultipartParser(
        boundary,
        {
            "on_header_field": lambda data, start, end: name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: content.extend(data[start:end]),
            "on_header_end": ended,
            "on_headers_finished": finished,
        },
    ).write
