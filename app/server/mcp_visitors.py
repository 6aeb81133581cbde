"""MCP clients as visitors: none of them sees another's photos.

Gradio calls its tools through one client for all MCP clients, but passes their headers on. So a header names the visitor:
the one in /gradio_api/mcp/?visitor=NAME, a secret name; without it, each call stands alone.
"""

import asyncio
import secrets
from contextlib import nullcontext
from urllib.parse import parse_qs

import gradio as gr
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.hosts import address_of
from app.server.routes import is_mcp
from core.common.digest import digest

VISITOR, ADDRESS = "x-sg-visitor", "x-forwarded-for"
SECRET = f"{secrets.token_hex(16)}."  # of this process: only its own client of tools knows it
AT_WORK = 24  # calls at a time: Gradio keeps a thread for each, and the page waits when all 40 threads are taken


class McpVisitors:
    """ASGI middleware that adds the header to what MCP clients send. Without the secret, it means nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.turns = app, asyncio.Semaphore(AT_WORK)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_mcp(scope):
            return await self.app(scope, receive, send)
        named = parse_qs(scope["query_string"].decode("latin-1")).get("visitor", [secrets.token_hex(16)])[0]
        address, headers = address_of(Request(scope)), MutableHeaders(scope=scope)
        headers[VISITOR] = f"{SECRET}{digest(SECRET + named)}"
        del headers[ADDRESS]
        headers |= {ADDRESS: address} if address else {}
        async with self.turns if scope["method"] == "POST" else nullcontext():  # others only listen
            await self.app(scope, receive, send)


def visitor_of(request: gr.Request | None) -> str | None:
    """The name of the MCP visitor who calls; None for the page and API clients."""
    header = "" if request is None else request.headers.get(VISITOR, "")
    return header.removeprefix(SECRET) if header.startswith(SECRET) else None
