"""Which of Gradio's routes there are: those that the page and gradio_client use, and no other.

Gradio serves more than this app needs: it fetches addresses that a visitor names, runs ffmpeg on uploads, saves links, and
calls functions past the queue. What is not listed here is not found; that includes whatever a later Gradio adds.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl

from gradio.utils import get_upload_folder
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from app import texts

API = "/gradio_api"
FILE = f"{API}/file="
NAME = r"[\w-]{1,64}"  # of tabs, events, uploads and endpoints: as long as Gradio's own, for the server remembers them
SHOWN = [
    *("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", "/assets/.+", "/static/.+"),
    *(f"{API}/{route}" for route in ("info", "app_id", "startup-events", "queue/data", "upload_progress")),
    *(f"{API}/{route}" for route in (f"heartbeat/{NAME}", f"call/(v2/)?{NAME}/{NAME}")),
]
CALLED = [f"{API}/{route}" for route in ("queue/join", f"call/(v2/)?{NAME}", "upload", "cancel", "reset")]
ROUTES = {method: re.compile("|".join(routes)) for method, routes in {"GET": SHOWN, "HEAD": ["/"], "POST": CALLED}.items()}
NAMES = {"session_hash", "upload_id", "event_id"}


class Routes:
    """ASGI middleware that answers 404 to everything but the routes above."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and is_open(scope)):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        else:
            await PlainTextResponse(texts.NO_SUCH_ROUTE, 404)(scope, receive, send)


def is_open(scope: Scope) -> bool:
    """Whether a request may pass."""
    path = route_of(scope)
    if scope["method"] in ("GET", "HEAD") and path.startswith(FILE):
        return is_visitors_file(path.removeprefix(FILE))
    allowed = ROUTES.get(scope["method"])
    if allowed is None or not allowed.fullmatch(path):
        return False
    query = parse_qsl(scope["query_string"].decode("latin-1"))
    return all(re.fullmatch(NAME, value) for key, value in query if key in NAMES)


def route_of(scope: Scope) -> str:
    """The path of a request below the path that the app is served at, as Starlette finds it."""
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


def is_upload(scope: Scope) -> bool:
    """Whether a request brings files; all else that is posted is a call."""
    return scope["type"] == "http" and scope["method"] == "POST" and scope["path"].rstrip("/").endswith("/upload")


def announced(scope: Scope) -> int | None:
    """The bytes that a request says it has; None where it does not say."""
    said = dict(scope["headers"]).get(b"content-length", b"")
    return int(said) if said.isdigit() else None


def is_visitors_file(name: str) -> bool:
    """Whether this is no address, but the path of a file that was uploaded or made for a visitor; symbolic links followed."""
    try:
        path, folder = Path(name), Path(get_upload_folder()).resolve()
        return path.is_absolute() and path.resolve().is_relative_to(folder) and path.is_file()
    except (OSError, ValueError):  # too long, or with a null byte
        return False
