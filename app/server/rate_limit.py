"""One rate limit per address: calls, uploads and new tabs. A class of thirty behind one address stays below it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app import texts
from app.server.addresses import address_of
from app.server.routes import HEARTBEAT, refusal, route_of

# Thirty people who think five seconds: 6 events a second, some with a second call, and at times all open the page at once.
CALLS = (RateLimitItemPerSecond(240, 10), RateLimitItemPerMinute(1_000))
TABS = RateLimitItemPerHour(500)
REMEMBERED_TABS = 50_000
PROGRESS = "/upload_progress"  # the server remembers every name that is asked for
TOO_MANY, RETRY_SECONDS = 429, 10


class Allowances:
    """What each address may still do. This machine's own address may do everything.

    ``megabytes``: of uploads in ten minutes.
    """

    def __init__(self, megabytes: int, exempt: Callable[[Mapping[str, str]], bool] = lambda _: False) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._exempt = exempt  # by a request's headers
        self._megabytes = RateLimitItemPerMinute(megabytes, 10)
        self._tabs: set[tuple[str, str]] = set()  # (address, session_hash)

    def call(self, request: Request) -> int:
        """Count a call. Returns the seconds until the address may call again; 0 if it may now."""
        return max(self._wait(item, request) for item in CALLS)

    def megabytes(self, request: Request, count: int) -> int:
        """Count megabytes that arrive. Returns as ``call``."""
        return self._wait(self._megabytes, request, count)

    def tab(self, request: Request, session: str) -> int:
        """Count a tab, unless the address had it before. Returns as ``call``. "": a call without a tab makes a new one."""
        tab = address_of(request), session
        if tab in self._tabs:
            return 0
        wait = self._wait(TABS, request)
        if session and not wait:
            if len(self._tabs) >= REMEMBERED_TABS:
                self._tabs.clear()  # they count once more
            self._tabs.add(tab)
        return wait

    def _wait(self, item: RateLimitItem, request: Request, cost: int = 1) -> int:
        address = address_of(request)
        if not address or self._exempt(request.headers) or self._limiter.hit(item, address, cost=cost):
            return 0
        return max(1, math.ceil(self._limiter.get_window_stats(item, address).reset_time - time.time()))


class RateLimit:
    """ASGI middleware that answers 429 to an address that calls or opens tabs too often."""

    def __init__(self, app: ASGIApp, allowances: Allowances) -> None:
        self.app, self.allowances = app, allowances

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wait = 0
        if scope["type"] == "http":
            request, route = Request(scope), route_of(scope)
            if scope["method"] == "POST" or route.endswith(PROGRESS):
                wait = self.allowances.call(request)
            elif tab := HEARTBEAT.fullmatch(route):
                wait = self.allowances.tab(request, tab[1])
        await (too_many(wait) if wait else self.app)(scope, receive, send)


def too_many(wait: int) -> JSONResponse:
    return refusal(texts.TOO_MANY_REQUESTS.format(n=wait), TOO_MANY, wait)
