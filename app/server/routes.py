"""Gradio's routes that are open: those that the page and gradio_client use, and no other.

Gradio serves more than this app needs. It fetches addresses that a visitor names, runs ffmpeg on uploads, saves links, and
calls functions past the queue. A route that is not listed here is not found, including what a later Gradio adds.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from h11 import LocalProtocolError
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from app.languages import ENGLISH, speaking, texts, wanted
from app.server.hosts import Hosts, host_name
from app.server.scratch import upload_folder

API = "/gradio_api"
FILE = f"{API}/file="
NAME = r"[\w-]{1,64}"  # of tabs, events, uploads, endpoints; no longer than Gradio's own, for the server remembers them
HEARTBEAT = re.compile(f"{API}/heartbeat/({NAME})")
SHOWN = [
    *("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", "/assets/.+", "/static/.+"),
    *(f"{API}/{route}" for route in ("info", "app_id", "startup-events", "queue/data", "upload_progress")),
    *(HEARTBEAT.pattern, f"{API}/call/(v2/)?{NAME}/{NAME}"),
]
CALLED = [f"{API}/{route}" for route in ("queue/join", f"call/(v2/)?{NAME}", "upload", "cancel", "reset")]
ROUTES = {method: re.compile("|".join(routes)) for method, routes in {"GET": SHOWN, "HEAD": ["/"], "POST": CALLED}.items()}
MCP = re.compile(f"{API}/mcp(/http)?/?")
NAMES = {"session_hash", "upload_id", "event_id"}
# Gradio would take the page's own address from these, whoever sends them.
UNUSED = "x-forwarded-host", "x-gradio-server"
NO_SNIFFING = (b"x-content-type-options", b"nosniff")  # a browser runs nothing that a visitor sent as another type
BAD, FOREIGN, NOT_FOUND, TOO_LARGE, TOO_MANY = 400, 403, 404, 413, 429


class Routes:
    """ASGI middleware that answers 404 to everything but the routes above. No other site's page may ask or send anything."""

    def __init__(self, app: ASGIApp, mcp: bool = False, hosts: Hosts = Hosts()) -> None:
        self.app, self.mcp, self.hosts = app, mcp, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await (self.app if scope["type"] == "lifespan" else WebSocketClose())(scope, receive, send)

        async def unsniffed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), NO_SNIFFING]}
            with suppress(LocalProtocolError):  # the client broke HTTP's rules, and hears no more
                await send(message)

        headers = MutableHeaders(scope=scope)
        if scope["client"] is not None:
            peer, port = scope["client"]
            scope["client"] = self.hosts.sender(peer, headers.getlist("x-forwarded-for")), port
        route = route_of(scope)
        # Visitors' files are compressed already, and everybody would wait meanwhile.
        for name in (*UNUSED, *(["accept-encoding"] if route.startswith(FILE) else [])):
            del headers[name]
        of_the_api = route.startswith((f"{API}/call", f"{API}/info", f"{API}/mcp"))
        with speaking(ENGLISH if of_the_api else wanted(headers.get("accept-language", ""))):
            inside = self.app if is_open(scope, self.mcp) else refusal(texts.NO_SUCH_ROUTE, NOT_FOUND)
            await (foreign(headers, self.hosts) or inside)(scope, receive, unsniffed)


def refusal(words: str, status: int, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error message in FastAPI's form; the page and gradio_client show "detail" and "error"."""
    return JSONResponse({"detail": words, "error": words}, status, headers)


def foreign(headers: Headers, hosts: Hosts) -> JSONResponse | None:
    """The answer to a wrong host or another site's page; None if the request is accepted.

    Another site's page must not ask or send anything, on its own and unseen, to a server that it could not reach itself. A
    server that everybody can reach may be called from any page: its visitors do not need that page to reach it.
    """
    host, origin = headers.get("host", ""), headers.get("origin", "")
    try:
        name, asking = host_name(host), urlsplit(origin)
        asking.port  # noqa: B018 (reading it raises ValueError)
    except ValueError:
        return refusal(texts.NO_HOST, BAD)
    if not hosts.answers_to(name):
        return refusal(texts.UNKNOWN_HOST, FOREIGN)
    own = not origin or headers.get("sec-fetch-site") == "same-origin" or asking.netloc == host
    return None if own or not hosts.private else refusal(texts.FOREIGN_PAGE, FOREIGN)


def is_open(scope: Scope, mcp: bool) -> bool:
    path = route_of(scope)
    if scope["method"] in ("GET", "HEAD") and path.startswith(FILE):
        return is_kept(path.removeprefix(FILE))
    allowed, query = ROUTES.get(scope["method"]), parse_qsl(scope["query_string"].decode("latin-1"))
    named = all(re.fullmatch(NAME, value) for key, value in query if key in NAMES)
    return (allowed is not None and allowed.fullmatch(path) is not None and named) or (mcp and is_mcp(scope))


def is_mcp(scope: Scope) -> bool:
    return scope["method"] in ("GET", "POST", "DELETE") and MCP.fullmatch(route_of(scope)) is not None


def is_upload(scope: Scope) -> bool:
    return scope["method"] == "POST" and route_of(scope) == f"{API}/upload"


def route_of(scope: Scope) -> str:
    """The path of a request below the path that the app is served at, as Starlette computes it."""
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


def is_kept(name: str) -> bool:
    """Whether this is the path of a file that was uploaded or made for a visitor: in a folder whose name cannot be guessed, and
    not behind a link to elsewhere."""
    with suppress(OSError, ValueError):  # elsewhere, too long, or with a null byte
        inside = (path := Path(name)).resolve().relative_to(upload_folder().resolve())
        return path.is_absolute() and len(inside.parts) > 1 and path.is_file()
    return False
