"""One rate limit per address, for calls, uploads and new tabs. A class of thirty behind one address stays below it."""

from __future__ import annotations

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app import texts
from app.server.hosts import address_of
from app.server.routes import HEARTBEAT, refusal, route_of

# Thirty people who think five seconds: 6 events a second, some with a second call, and at times all open the page at once.
CALLS = RateLimitItemPerSecond(300, 10)
PROGRESS = "/upload_progress"  # the server remembers every name that is asked for
TOO_MANY = 429


class RateLimit:
    """ASGI middleware that answers 429 to an address that calls too often. This machine's own address is exempt."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.limiter = app, SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self.app
        if scope["type"] == "http":
            route, address = route_of(scope), address_of(Request(scope))
            counts = scope["method"] == "POST" or route.endswith(PROGRESS) or HEARTBEAT.fullmatch(route)
            if counts and address and not self.limiter.hit(CALLS, address):
                seconds = CALLS.get_expiry()
                answer = refusal(texts.TOO_MANY_REQUESTS.format(n=seconds), TOO_MANY, {"retry-after": str(seconds)})
        await answer(scope, receive, send)
