"""The server's connections, with limits on how long one may be silent and on how many there are."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from gradio import http_server
from uvicorn.protocols.http.h11_impl import H11Protocol

QUIET_SECONDS = 20.0  # for the line and the headers of a request to arrive
MAX_HEADERS = 16 * 2**10  # bytes
MAX_CONNECTIONS = 2_000
FILES = 4 * MAX_CONNECTIONS  # open ones, sockets among them


class TimedProtocol(H11Protocol):
    """Closes connections that ask for nothing: uvicorn waits for headers without end, and each one costs an open file."""

    _heard: Any = None  # the last answered request at the last look; () while one is answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(QUIET_SECONDS, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self._heard is self.cycle:
            self.transport.close()
            return
        self._heard = self.cycle if idle else ()
        self.loop.call_later(QUIET_SECONDS, self._look)


class BoundedServer(http_server.Server):
    """Gradio's server with limits on its connections, for which it has no settings."""

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        config.http, config.limit_concurrency = TimedProtocol, MAX_CONNECTIONS
        config.h11_max_incomplete_event_size = MAX_HEADERS
        super().__init__(config, *args, **kwargs)


def allow_open_files() -> None:
    """Raise the limit of open files: a few hundred tabs may need more than the usual 1,024."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
