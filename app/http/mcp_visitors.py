"""MCP clients as visitors: none of them sees another's photos.

Gradio 6.31 calls its tools through one client for everybody, so all would share one gallery. Here each call stands alone,
unless its address names the visitor: /gradio_api/mcp/?visitor=NAME, a secret name.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from gradio import mcp
from gradio_client import Client
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app import texts
from app.http.addresses import address_of
from app.http.allowlist import is_mcp
from app.http.fair_queue import OWN_WAITING
from core.common.digest import digest

FILES = "photos, each as data:image/jpeg;base64,…"
MOST_FILES = 100  # most files of a call
MOST = 32  # most clients that are kept; a visitor's photos last as long as any tab's
TOO_MANY = 429
THREADS = 40  # threads for tools; each call holds one until its answer. The page has as many of its own

_threads: RunVar[CapacityLimiter | None] = RunVar("threads for tools")  # of this event loop
_clients: OrderedDict[str, Client] = OrderedDict()
_changing, _making = threading.Lock(), threading.Lock()


class FewCalls:
    """ASGI middleware that lets one address have only a few calls of tools at a time: each makes a client, a thread and a
    stream before it reaches the queue, which bounds all other calls."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._calls: Counter[str] = Counter()  # by address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        called = scope["type"] == "http" and scope["method"] == "POST" and is_mcp(scope)
        address = address_of(Request(scope)) if called else ""
        if not address:  # nobody's, or this machine's own
            await self.app(scope, receive, send)
            return
        if self._calls[address] >= OWN_WAITING:
            await PlainTextResponse(texts.QUEUE_FULL_OWN.format(n=OWN_WAITING), TOO_MANY)(scope, receive, send)
            return
        self._calls[address] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._calls[address] -= 1
            self._calls += Counter()  # drops zeros


def separate_visitors() -> None:
    """Give every MCP visitor a client, and so a session, of its own, and all of them threads of their own. A second call
    changes nothing."""
    mcp.run_sync = _in_own_thread  # type: ignore[assignment]
    mcp.GradioMCPServer = VisitorsServer  # type: ignore[misc]


async def _in_own_thread(work: Callable[..., Any], *args: Any) -> Any:
    """Run the work in one of the threads for tools. In Gradio, a few dozen calls hold all threads, and the page waits."""
    limiter = _threads.get(None)
    if limiter is None:
        _threads.set(limiter := CapacityLimiter(THREADS))
    return await to_thread.run_sync(work, *args, limiter=limiter)


class VisitorsServer(mcp.GradioMCPServer):
    """Gradio's server of tools, with a client for each visitor."""

    def _prepare_tool_call_args(self, name: str, arguments: dict[str, Any]) -> Any:
        """The arguments of a tool. It calls the app from this machine: as a proxy, it passes on the visitor's address alone."""
        *made, _, event = super()._prepare_tool_call_args(name, arguments)
        address = address_of(self.mcp_server.request_context.request)
        return *made, {"x-forwarded-for": address} if address else {}, event

    def _get_or_create_client(self) -> Client:
        """The client of the visitor who calls."""
        request: Any = self.mcp_server.request_context.request
        name = request.query_params.get("visitor") or secrets.token_hex(16)
        key = digest(f"{self.local_url} {name}")[:32]
        with _changing:
            if key in _clients:
                _clients.move_to_end(key)
                return _clients[key]
        with _making:  # one at a time: it takes a tenth of a second of Python, which the page needs too
            self._client_instance = None
            client = super()._get_or_create_client()
        client.session_hash = key
        with _changing:
            client = _clients.setdefault(key, client)
            dropped = [_clients.popitem(last=False)[1] for _ in range(len(_clients) - MOST)]
        for old in dropped:
            old.close()
        return client

    def get_input_schema(self, tool_name: str, parameters: dict[str, str] | None = None) -> Any:
        """The schema of a tool's input. For a list of files, Gradio's refers to a definition elsewhere and takes no text."""
        schema, places = super().get_input_schema(tool_name, parameters)
        if "files" in schema.get("properties", {}):
            schema["properties"]["files"] = {
                "type": "array",
                "items": {"type": "string"},
                "description": FILES,
                "maxItems": MOST_FILES,
            }
            places = [*(place for place in places if place[:1] != ["files"]), *(["files", i] for i in range(MOST_FILES))]
        return schema, places

    @staticmethod
    def pop_returned_state(components: Any, data: Any) -> list[Any]:
        """The answers of a tool. Gradio's client returns several values as one."""
        return list(data[0] if len(data) == 1 and isinstance(data[0], list | tuple) else data)
