"""MCP clients as visitors: none of them sees another's photos.

Gradio calls its tools through one client for all MCP clients, but passes their headers on. So a header names the visitor:
the one in /gradio_api/mcp/?visitor=NAME, a secret name; without it, each call stands alone.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping
from urllib.parse import parse_qs

import gradio as gr
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.addresses import address_of
from app.server.rate_limit import RETRY_SECONDS, too_many
from app.server.routes import is_mcp
from core.common.digest import digest

VISITOR, ADDRESS = "x-sg-visitor", "x-forwarded-for"
SECRET = f"{secrets.token_hex(16)}."  # of this process: only its own client of tools knows it
# Calls at work, in all and of one address. Gradio keeps a thread for each, and the page waits when all 40 threads are taken.
AT_WORK, OWN_AT_WORK = 24, 8


class McpVisitors:
    """ASGI middleware that adds the header to what MCP clients send. Without the secret, it means nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.at_work: Counter[str] = Counter()  # by address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_mcp(scope):
            await self.app(scope, receive, send)
            return
        address = address_of(Request(scope))
        if self.at_work.total() >= AT_WORK or (address and self.at_work[address] >= OWN_AT_WORK):
            await too_many(RETRY_SECONDS)(scope, receive, send)
            return
        named = parse_qs(scope["query_string"].decode("latin-1")).get("visitor", [secrets.token_hex(16)])[0]
        headers = [(name, value) for name, value in scope["headers"] if name.decode("latin-1") not in (VISITOR, ADDRESS)]
        headers.append((VISITOR.encode(), f"{SECRET}{digest(SECRET + named)}".encode()))
        if address:
            headers.append((ADDRESS.encode(), address.encode()))
        called = int(scope["method"] == "POST")  # others only listen
        self.at_work[address] += called
        try:
            await self.app({**scope, "headers": headers}, receive, send)
        finally:
            self.at_work[address] -= called
            self.at_work += Counter()  # drops zeros


def is_from_tool(headers: Mapping[str, str]) -> bool:
    """Whether a call is a tool's, which Gradio's client of tools sends from this machine."""
    return headers.get(VISITOR, "").startswith(SECRET)


def visitor_of(request: gr.Request | None) -> str | None:
    """The name of the MCP visitor who calls; None for the page and API clients."""
    headers = {} if request is None else request.headers
    return headers.get(VISITOR, "").removeprefix(SECRET) if is_from_tool(headers) else None
