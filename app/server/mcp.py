"""MCP clients: who calls, so that none of them sees another's photos, and the files that they send.

Gradio calls its tools through one client for all MCP clients, but passes their headers on. So a header names the visitor:
the one in /gradio_api/mcp/?visitor=NAME, a secret name; without it, each call stands alone.
"""

import asyncio
import base64
import mimetypes
import re
import secrets
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import parse_qs, unquote

import gradio as gr
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.languages import texts
from app.server.hosts import address_of
from app.server.routes import is_kept, is_mcp
from app.server.scratch import upload_folder
from core.common.digest import digest
from core.common.errors import StudioError
from core.common.text import safe_name

VISITOR, ADDRESS = "x-sg-visitor", "x-forwarded-for"
SECRET = f"{secrets.token_hex(16)}."  # of this process: only its own client of tools knows it
AT_WORK = 24  # calls at a time: Gradio keeps a thread for each, and the page waits when all 40 threads are taken
LETTERS = 60  # of a file name: four bytes each are within a file system's 255
DATA = re.compile(r"data:([\w.+/-]*)(?:;name=([^;,]*))?(?:;[\w=.+-]+)*;base64,(.*)")


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


def visitor_of(request: gr.Request) -> str | None:
    """The name of the MCP visitor who calls; None for the page and API clients."""
    header = request.headers.get(VISITOR, "")
    return header.removeprefix(SECRET) if header.startswith(SECRET) else None


def sent_files(lines: str | None) -> list[str]:
    """Paths of files, one a line: a data URL, or a path that an upload returned. Raises StudioError: when a line is neither.
    Gradio's schema for a list of files is one that MCP clients cannot use."""
    return [_file(number, line.strip()) for number, line in enumerate((lines or "").splitlines(), 1) if line.strip()]


def _file(number: int, line: str) -> str:
    if not (data := DATA.fullmatch(line)):
        if not is_kept(line):
            raise StudioError(texts.NO_ADDRESSES if "://" in line else texts.FILE_NOT_YOURS)
        return line
    try:
        content = base64.b64decode(data[3], validate=True)
    except ValueError:
        raise StudioError(texts.VALUES_UNUSABLE) from None
    (folder := upload_folder() / secrets.token_hex(32)).mkdir(parents=True)
    name = safe_name(unquote(data[2] or f"photo-{number}"))[-LETTERS:]
    path = folder / (name if Path(name).suffix else f"{name}{mimetypes.guess_extension(data[1]) or ''}")
    path.write_bytes(content)
    return str(path)
