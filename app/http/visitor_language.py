"""The language of each answer: the visitor's for the page, English for the API. The page is compressed, too."""

from __future__ import annotations

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.allowlist import API, route_of
from app.http.guarded_blocks import endpoints_alone
from app.languages import TAGS, speaking, wanted

PAGE = ("/", "/config")  # built from the page's texts
LEVEL = 5  # of gzip: compresses a megabyte of page in milliseconds
OF_THE_API = (f"{API}/call", f"{API}/info", f"{API}/mcp")


class VisitorLanguage:
    """ASGI middleware that sets the language of an answer. It compresses the page: Gradio compresses only named files."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.page = app, GZipMiddleware(app, compresslevel=LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = route_of(scope) if scope["type"] == "http" else None
        if route is None or route.startswith(OF_THE_API):
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        code = wanted(headers.get(b"accept-language", b"").decode("latin-1"))
        endpoints_alone.set(route == "/config" and b"sec-fetch-mode" not in headers)  # browsers send this header

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start" and route in PAGE:
                added = [(b"content-language", TAGS[code].encode()), (b"vary", b"accept-language, sec-fetch-mode")]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        with speaking(code):
            await (self.page if route in PAGE else self.app)(scope, receive, with_headers)
