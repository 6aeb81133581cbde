"""What an upload must pass: it has files only, its address did not send too much, and it has room."""

import asyncio
import logging
import math
from collections.abc import Callable

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.languages import texts
from app.server.hosts import address_of
from app.server.routes import TOO_LARGE, TOO_MANY, is_mcp, is_upload
from app.server.scratch import BLOCKS

log = logging.getLogger(__name__)
NO_LENGTH, NO_ROOM = 411, 507


class Uploads:
    """ASGI middleware around the routes that take files. All other requests pass.

    ``most``: most bytes of one upload: half of the disk that uploads have. ``could_fit``: whether so many more bytes fit on the
    disk; it runs in threads, and deletes no visitor's data. ``count``: called with bytes written, or, below zero, taken back.
    """

    def __init__(self, app: ASGIApp, most: int, could_fit: Callable[[int], bool], count: Callable[[int], object]) -> None:
        self.app, self.most, self.could_fit, self.count = app, most, could_fit, count
        self.coming = 0  # bytes that all accepted uploads have not sent yet
        # Kilobytes of an address in ten minutes: three quarters of the disk that uploads have.
        self.kilobytes = RateLimitItemPerMinute(3 * most // 2**11, 10)
        self.limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # What MCP clients send may hold files, too.
        if scope["type"] != "http" or not (is_upload(scope) or (is_mcp(scope) and scope["method"] == "POST")):
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        if refused := await self._refused(request):
            async for _ in request.stream():  # a browser that still sends would not read the answer
                pass
            await refused(scope, receive, send)
            return
        size = left = int(request.headers["content-length"])
        check = _files_only(request, lambda: self.count(BLOCKS))

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            if message["type"] == "http.disconnect" and is_upload(scope):
                raise MultiPartException("the visitor went away")  # Gradio removes the pieces
            check(body := message.get("body", b""))
            left, self.coming = left - len(body), self.coming - len(body)
            self.count(len(body))
            return message

        try:
            await self.app(scope, counted, send)
        except OSError as error:  # the disk is full, or a limit on file sizes is reached
            log.warning("an upload could not be written: %s", error)
            await PlainTextResponse(texts.DISK_FULL, NO_ROOM)(scope, receive, send)
        finally:
            self.coming -= left
            self.count(left - size if left else 0)  # Gradio removes what came

    async def _refused(self, request: Request) -> PlainTextResponse | None:
        """The answer to an upload that is not taken. The page shows its text as it is."""
        length = request.headers.get("content-length", "")
        if not length.isdecimal():
            return PlainTextResponse(texts.UPLOAD_NO_LENGTH, NO_LENGTH)
        if (size := int(length)) > self.most:
            return PlainTextResponse(texts.UPLOAD_LARGE.format(mb=self.most // 2**20), TOO_LARGE)
        if not self.limiter.hit(self.kilobytes, address_of(request), cost=math.ceil(size / 2**10)):
            return PlainTextResponse(texts.TOO_MANY_REQUESTS.format(n=self.kilobytes.get_expiry()), TOO_MANY)
        self.coming += size
        if await asyncio.to_thread(self.could_fit, self.coming):
            return None
        self.coming -= size
        return PlainTextResponse(texts.DISK_FULL, NO_ROOM)


def _files_only(request: Request, count: Callable[[], object]) -> Callable[[bytes], object]:
    """A function that stops an upload with a field that is no file: Gradio would keep it in memory, however large. ``count``:
    called with each file."""
    boundary = parse_options_header(request.headers.get("content-type"))[1].get(b"boundary")
    if not boundary:
        return len  # Gradio rejects it
    headers = list[bytearray]()  # of a part: names and values in turn

    def finished() -> None:
        values = {bytes(name).lower(): bytes(value) for name, value in zip(headers[::2], headers[1::2], strict=True)}
        if b"filename" not in parse_options_header(values.get(b"content-disposition"))[1]:
            raise MultiPartException(texts.FILES_ONLY)
        headers.clear()
        count()

    return MultipartParser(
        boundary,
        {
            "on_header_begin": lambda: headers.extend((bytearray(), bytearray())),
            "on_header_field": lambda data, start, end: headers[-2].extend(data[start:end]),
            "on_header_value": lambda data, start, end: headers[-1].extend(data[start:end]),
            "on_headers_finished": finished,
        },
    ).write
