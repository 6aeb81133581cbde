"""Serve the page with Gradio's own server, behind the middleware of this package."""

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import gradio as gr
from fastapi.exceptions import RequestValidationError
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from app.server.calls import Calls, RateLimit, refuse_fields
from app.server.errors import Answers
from app.server.hosts import Hosts
from app.server.mcp import McpVisitors
from app.server.routes import Routes
from app.server.uploads import Uploads

EVENTS = 1_000  # most events that wait for their turn or run; beyond them, as many wait in Gradio's queue
TABS = 2_000  # most tabs and API clients whose components Gradio remembers
MAX_FILE = "200mb"
STARTS = 3  # most tries to begin
FILES = 65_536  # most open files: sockets, and those of uploads, which may have a thousand files each


def serve(
    page: gr.Blocks,
    *,
    address: str,
    port: int | None = None,
    hosts: Hosts = Hosts(),
    mcp: bool = False,
    could_fit: Callable[[int], bool],
    count_upload: Callable[[int], object] = lambda _: None,
    max_upload: int,
    wait: bool = True,
    **looks: Any,
) -> str:
    """Serve a page until a signal ends the process, or, without ``wait``, return at once. Returns the page's address.

    ``port``: None: the first free one from 7860. ``max_upload``, ``could_fit``, ``count_upload``: as for ``Uploads``.
    ``looks``: as ``gr.Blocks.launch`` takes them.
    """
    allow_open_files()
    launch = partial(
        page.launch,
        server_name=address,
        server_port=port,
        app_kwargs={
            "middleware": [  # what a request passes before it reaches Gradio, the outermost first
                Middleware(Routes, mcp=mcp, hosts=hosts),
                Middleware(GZipMiddleware, compresslevel=5),  # Gradio compresses only named files, not the page
                Middleware(Answers),
                Middleware(McpVisitors),
                Middleware(RateLimit),
                Middleware(Uploads, most=max_upload, could_fit=could_fit, count=count_upload),
                Middleware(Calls),
            ],
            "exception_handlers": {RequestValidationError: refuse_fields},
        },
        state_session_capacity=TABS,
        max_threads=EVENTS,
        max_file_size=MAX_FILE,
        footer_links=["api", "settings"],
        run_history=False,  # Gradio would keep visitors' photos in the browser without asking
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=mcp,
        share=False,
        prevent_thread_lock=not wait,
        quiet=not wait,
        **looks,
    )
    for _ in range(STARTS - 1):
        with suppress(ValueError):  # Gradio asks its own page for 3 s, and the machine stalled as long
            return launch()[1]
        page.close(verbose=False)
    return launch()[1]


def allow_open_files() -> None:
    """Raise the limit of open files as far as the system lets this process: the usual 1,024 are a few hundred tabs."""
    if sys.platform != "win32":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES if hard == resource.RLIM_INFINITY else min(FILES, hard), hard))
