"""Gradio's routes that are open: those that the page and gradio_client use, and no other.

Gradio serves more than this app needs. It fetches addresses that a visitor names, runs ffmpeg on uploads, saves links, and
calls functions past the queue. A route that is not listed here is not found, including what a later Gradio adds.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from gradio.utils import get_upload_folder
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from app import texts
from app.http.hosts import Hosts, host_name
from core.common.errors import brief

log = logging.getLogger(__name__)
API = "/gradio_api"
FILE, UPLOAD = f"{API}/file=", f"{API}/upload"
NAME = r"[\w-]{1,64}"  # of tabs, events, uploads, endpoints; no longer than Gradio's own, for the server remembers them
SHOWN = [
    *("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", "/assets/.+", "/static/.+"),
    *(f"{API}/{route}" for route in ("info", "app_id", "startup-events", "queue/data", "upload_progress")),
    *(f"{API}/{route}" for route in (f"heartbeat/{NAME}", f"call/(v2/)?{NAME}/{NAME}")),
]
CALLED = [f"{API}/{route}" for route in ("queue/join", f"call/(v2/)?{NAME}", "upload", "cancel", "reset")]
ROUTES = {method: re.compile("|".join(routes)) for method, routes in {"GET": SHOWN, "HEAD": ["/"], "POST": CALLED}.items()}
MCP = re.compile(f"{API}/mcp(/http)?/?")
NAMES = {"session_hash", "upload_id", "event_id"}
STREAM = re.compile(f"{API}/(?:queue/data|call/(?:v2/)?{NAME}/({NAME}))")
NO_SNIFFING = (b"x-content-type-options", b"nosniff")  # a browser runs nothing that a visitor sent as another type
BAD, FOREIGN, NOT_FOUND = 400, 403, 404


class Routes:
    """ASGI middleware that answers 404 to everything but the routes above. No other site's page may ask or send anything.

    ``mcp``: its routes are open too. ``hosts``: the names that the server answers to.
    """

    def __init__(self, app: ASGIApp, mcp: bool = False, hosts: Hosts = Hosts()) -> None:
        self.app, self.mcp, self.hosts = app, mcp, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def safely(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*message.get("headers", ()), NO_SNIFFING]}
            await send(message)

        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        elif scope["type"] != "http":
            await self.app(scope, receive, send)
        elif refused := refusal(scope, self.hosts):
            await PlainTextResponse(*refused)(scope, receive, safely)
        elif (is_open(scope) and is_awaited(scope)) or (self.mcp and is_mcp(scope)):
            try:
                await self.app(scope, receive, safely)
            except Exception as error:  # a name or header that Gradio cannot use; its trace would fill the log
                if started:
                    raise
                log.warning("a request for %s failed: %s: %s", route_of(scope)[:100], type(error).__name__, brief(str(error)))
                await json_refusal(texts.REQUEST_UNUSABLE, BAD)(scope, receive, safely)
        else:
            await PlainTextResponse(texts.NO_SUCH_ROUTE, NOT_FOUND)(scope, receive, safely)


def json_refusal(words: str, status: int) -> JSONResponse:
    """An error message in FastAPI's form; the page and gradio_client show "detail" and "error"."""
    return JSONResponse({"detail": words, "error": words}, status)


def refusal(scope: Scope, hosts: Hosts) -> tuple[str, int] | None:
    """The error message and status for a wrong host or another site's page; None if the request is accepted.

    Another site's page must not ask or send anything, on its own and unseen, to a server that it could not reach itself. A
    server that everybody can reach may be called from any page: its visitors do not need that page to reach it.
    """
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    host, origin = headers.get(b"host", ""), headers.get(b"origin", "")
    try:
        name, asking = host_name(host), urlsplit(origin)
        asking.port  # noqa: B018 (reading it raises ValueError)
    except ValueError:
        return texts.NO_HOST, BAD
    if not hosts.answers_to(name):
        return texts.UNKNOWN_HOST, FOREIGN
    if not origin or headers.get(b"sec-fetch-site") == "same-origin":
        return None
    return (texts.FOREIGN_PAGE, FOREIGN) if hosts.private and asking.netloc != host else None


def is_awaited(scope: Scope) -> bool:
    """Whether answers are on their way for a stream that is asked for. Gradio finds out only in the middle of its answer."""
    asked = STREAM.fullmatch(route_of(scope))
    app = scope.get("app")
    if asked is None or scope["method"] != "GET" or app is None:
        return True
    queue = app.get_blocks()._queue
    if event := asked.group(1):
        waiting = event in queue.event_ids_to_events or any(event in ids for ids in queue.pending_event_ids_session.values())
        return waiting or event in queue.pending_messages_per_session
    tab = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("session_hash")
    return tab is None or tab in queue.pending_messages_per_session


def is_open(scope: Scope) -> bool:
    path = route_of(scope)
    if scope["method"] in ("GET", "HEAD") and path.startswith(FILE):
        return is_visitors_file(path.removeprefix(FILE))
    allowed = ROUTES.get(scope["method"])
    if allowed is None or not allowed.fullmatch(path):
        return False
    query = parse_qsl(scope["query_string"].decode("latin-1"))
    return all(re.fullmatch(NAME, value) for key, value in query if key in NAMES)


def is_mcp(scope: Scope) -> bool:
    return scope["method"] in ("GET", "POST", "DELETE") and MCP.fullmatch(route_of(scope)) is not None


def route_of(scope: Scope) -> str:
    """The path of a request below the path that the app is served at, as Starlette computes it."""
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


def is_upload(scope: Scope) -> bool:
    """Whether a request brings files. Every other POST is a call."""
    return scope["type"] == "http" and scope["method"] == "POST" and route_of(scope) == UPLOAD


def announced(scope: Scope) -> int | None:
    """The bytes that a request announces; None if it announces none."""
    length = dict(scope["headers"]).get(b"content-length", b"")
    return int(length) if length.isdigit() else None


def is_visitors_file(name: str) -> bool:
    """Whether this is the path of a file that was uploaded or made for a visitor, and no address. Follows symbolic links."""
    try:
        path, folder = Path(name), Path(get_upload_folder()).resolve()
        return path.is_absolute() and path.resolve().is_relative_to(folder) and path.is_file()
    except (OSError, ValueError):  # too long, or with a null byte
        return False
