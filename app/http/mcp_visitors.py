"""MCP clients as visitors: none of them sees another's photos.

Gradio 6.31 calls its tools through one client for everybody, so all would share one gallery. Here each call stands alone,
unless its address names the visitor: /gradio_api/mcp/?visitor=NAME, a secret name.
"""

from __future__ import annotations

import copy
import secrets
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
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
    from gradio import mcp

    server: Any = mcp.GradioMCPServer
    if server._get_or_create_client is not _client_of_visitor:
        mcp.run_sync = _in_own_thread  # type: ignore[attr-defined]
        server._arguments_as_made = server._prepare_tool_call_args
        server._prepare_tool_call_args = _arguments
        server._client_for_all = server._get_or_create_client
        server._get_or_create_client = _client_of_visitor
        server._schema_as_made = server.get_input_schema
        server.get_input_schema = _input_schema
        server.pop_returned_state = staticmethod(_answers)


async def _in_own_thread(work: Callable[..., Any], *args: Any) -> Any:
    """Run the work in one of the threads for tools. In Gradio, a few dozen calls hold all threads, and the page waits."""
    limiter = _threads.get(None)
    if limiter is None:
        _threads.set(limiter := CapacityLimiter(THREADS))
    return await to_thread.run_sync(work, *args, limiter=limiter)


def _arguments(server: Any, name: str, values: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments of a tool. It calls the app from this machine: as a proxy, it passes on the visitor's address alone."""
    *arguments, _, event = server._arguments_as_made(name, values)
    address = address_of(server.mcp_server.request_context.request)
    return *arguments, {"x-forwarded-for": address} if address else {}, event


def _client_of_visitor(server: Any) -> Client:
    request = server.mcp_server.request_context.request
    name = (request.query_params.get("visitor") if request is not None else None) or secrets.token_hex(16)
    key = digest(f"{server.local_url} {name}")[:32]
    with _changing:
        if key in _clients:
            _clients.move_to_end(key)
            return _clients[key]
    alone = copy.copy(server)
    alone._client_instance = None
    with _making:  # one at a time: it takes a tenth of a second of Python, which the page needs too
        client = alone._client_for_all()
    client.session_hash = key
    with _changing:
        client = _clients.setdefault(key, client)
        dropped = [_clients.popitem(last=False)[1] for _ in range(len(_clients) - MOST)]
    for old in dropped:
        old.close()
    return client


def _input_schema(server: Any, tool: str, parameters: Any = None) -> tuple[dict[str, Any], list[Any]]:
    """The schema of a tool's input. For a list of files, Gradio's refers to a definition elsewhere and takes no text."""
    schema, places = server._schema_as_made(tool, parameters)
    if "files" in schema.get("properties", {}):
        schema["properties"]["files"] = {
            "type": "array",
            "items": {"type": "string"},
            "description": FILES,
            "maxItems": MOST_FILES,
        }
        places = [*(place for place in places if place[:1] != ["files"]), *(["files", i] for i in range(MOST_FILES))]
    return schema, places


def _answers(_: Sequence[Any], data: Any) -> list[Any]:
    """The answers of a tool. Gradio's client returns several values as one."""
    return list(data[0] if len(data) == 1 and isinstance(data[0], list | tuple) else data)
