"""One rate limit per address, for calls, uploads and new tabs. A class of thirty behind one address stays below it."""

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.languages import texts
from app.server.hosts import address_of
from app.server.routes import HEARTBEAT, refusal, route_of

# Thirty people who think five seconds: 6 events a second, some with a second call, and at times all open the page at once.
CALLS = RateLimitItemPerSecond(300, 10)
PROGRESS = "/upload_progress"  # the server remembers every name that is asked for
TOO_MANY = 429


class Allowance:
    """What each address may do within a time. This machine's own address may do everything."""

    def __init__(self, limit: RateLimitItem) -> None:
        self.seconds, self._limit = limit.get_expiry(), limit
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def exceeded(self, request: Request, cost: int = 1) -> bool:
        """Count what an address does. Returns True, and counts nothing, if it is too much."""
        address = address_of(request)
        return bool(address) and not self._limiter.hit(self._limit, address, cost=cost)


class RateLimit:
    """ASGI middleware that answers 429 to an address that calls too often."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.calls = app, Allowance(CALLS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self.app
        if scope["type"] == "http":
            route, seconds = route_of(scope), self.calls.seconds
            counts = scope["method"] == "POST" or route.endswith(PROGRESS) or HEARTBEAT.fullmatch(route)
            if counts and self.calls.exceeded(Request(scope)):
                answer = refusal(texts.TOO_MANY_REQUESTS.format(n=seconds), TOO_MANY, {"retry-after": str(seconds)})
        await answer(scope, receive, send)
