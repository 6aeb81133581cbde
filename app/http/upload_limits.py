"""What an upload must pass: it has room and ends in time. If not, nothing stays behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from starlette.formparsers import MultiPartException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import texts
from app.http.allowlist import announced, is_mcp, is_upload

log = logging.getLogger(__name__)
UPLOAD_SECONDS = 15 * 60  # time for one request, enough for the largest file at 2 Mbit/s
QUIET_SECONDS = 3  # a rejected client that sends nothing for so long waits for the answer
STEP = 4 * 2**20  # bytes between two checks of the disk: the announced size may be false
TOO_LARGE, NO_ROOM, TOO_SLOW = 413, 507, 408


class UploadGate:
    """ASGI middleware around the routes that take files. All other requests pass.

    ``most``: most bytes of one upload. ``could_fit``: whether so many more bytes fit, or would fit; changes nothing. ``room``:
    makes room for so many bytes that are on their way; returns the reason if there is none, else "".
    """

    def __init__(self, app: ASGIApp, most: int, could_fit: Callable[[int], bool], room: Callable[[int], str]) -> None:
        self.app, self.most, self.could_fit, self.room = app, most, could_fit, room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_upload(scope):
            await _Upload(self, scope, receive, send).run()
            return
        if scope["type"] == "http" and scope["method"] == "POST" and is_mcp(scope):  # its photos are files too
            size = announced(scope)
            if refused := await asyncio.to_thread(self.room, STEP if size is None else min(size, STEP)):
                await PlainTextResponse(refused, NO_ROOM)(scope, receive, send)
                return
        await self.app(scope, receive, send)


class _Upload:
    """One upload on its way. To stop it, it raises the error for which Gradio removes the pieces."""

    def __init__(self, gate: UploadGate, scope: Scope, receive: Receive, send: Send) -> None:
        self.app, self.room, self.most, self.could_fit = gate.app, gate.room, gate.most, gate.could_fit
        self.scope, self.receive, self.send = scope, receive, send
        self.end = asyncio.get_running_loop().time() + UPLOAD_SECONDS
        self.taken = self.looked = 0
        self.length = announced(scope)
        self.status = 0  # HTTP status of the rejection
        self.more = True
        self.started = False

    async def run(self) -> None:
        status, refused = NO_ROOM, texts.DISK_FULL
        if self.length is not None and self.length > self.most:
            status, refused = TOO_LARGE, self.too_large
        elif await asyncio.to_thread(self.could_fit, STEP if self.length is None else self.length):
            try:
                await self.app(self.scope, self.metered, self.answered)
                return
            except OSError as error:  # the disk is full, or a limit on file sizes is reached
                if self.started:
                    raise
                log.warning("an upload could not be written: %s", error)
        await self.drain()
        await PlainTextResponse(refused, status)(self.scope, self.receive, self.send)

    async def metered(self) -> Message:
        try:
            async with asyncio.timeout_at(self.end):
                message = await self.receive()
        except TimeoutError:
            self.more = False
            raise self.stopped(TOO_SLOW, texts.UPLOAD_SLOW) from None
        if message["type"] == "http.disconnect":
            self.more = False
            raise self.stopped(TOO_SLOW, "the visitor went away")
        self.more = message.get("more_body", False)
        before, self.taken = self.taken, self.taken + len(message.get("body", b""))
        if self.taken > self.most:
            raise self.stopped(TOO_LARGE, self.too_large)
        if self.taken > self.looked:
            self.looked = before + STEP
            ahead = STEP if self.length is None else min(STEP, self.length - before)
            if refused := await asyncio.to_thread(self.room, ahead):
                raise self.stopped(NO_ROOM, refused)
        return message

    def stopped(self, status: int, reason: str) -> MultiPartException:
        self.status = status
        return MultiPartException(reason)

    async def answered(self, message: Message) -> None:
        """Send the answer. A rejection waits until the visitor has sent all: a browser that still sends would not read it."""
        if self.status and message["type"] == "http.response.start":
            await self.drain()
            message = {**message, "status": self.status}
        self.started = True
        await self.send(message)

    @property
    def too_large(self) -> str:
        return texts.UPLOAD_LARGE.format(mb=self.most // 2**20)

    async def drain(self) -> None:
        """Read and drop what comes, up to twice the limit, or until nothing comes."""
        try:
            while self.more and self.taken <= 2 * self.most:
                quiet_end = asyncio.get_running_loop().time() + QUIET_SECONDS
                async with asyncio.timeout_at(min(self.end, quiet_end)):
                    message = await self.receive()
                    self.taken += len(message.get("body", b""))
                    self.more = message["type"] == "http.request" and message.get("more_body", False)
        except TimeoutError:
            self.more = False
