"""Compress what Gradio sends as text: the page, its scripts and answers."""

from __future__ import annotations

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.routes import route_of

FILES = "/gradio_api/file="  # photos and ZIPs are compressed already; for one of 4 MB, everybody would wait 0.25 s


class Compression:
    """ASGI middleware: Starlette's gzip, but not for visitors' files."""

    def __init__(self, app: ASGIApp) -> None:
        self.files, self.others = app, GZipMiddleware(app, compresslevel=5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.files if scope["type"] == "http" and route_of(scope).startswith(FILES) else self.others
        await app(scope, receive, send)
