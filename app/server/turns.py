"""Fair turns: an address that sends many events does not delay those of others."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from math import inf
from typing import Any

import anyio

from app.languages import texts
from core.common.errors import StudioError


class Turns:
    """At most ``limit`` events at once, ``most`` of one address. The next turn goes to the address that has waited longest.
    Only the server's event loop calls it, so it needs no lock."""

    def __init__(self, limit: float, most: float) -> None:
        self.limit, self.most = limit, most
        self._running = Counter[str]()
        self._waiting = dict[str, deque[asyncio.Future[None]]]()  # by address, the longest without a turn first
        self._owners = set[str]()

    async def run(
        self, address: str, function: Callable[[], Any], owner: str = "", waits: Callable[[], object] = lambda: None
    ) -> Any:
        """Call a function in a thread, in turn. It keeps the turn until it ends, even if its event is cancelled.

        ``owner``: only one call of an owner may wait. ``waits``: called if there is no turn now. Raises StudioError: when
        another one of the owner waits.
        """
        if owner in self._owners:
            raise StudioError(texts.ONE_WAITS)
        self._owners |= {owner} - {""}
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(address, deque()).append(turn)
        try:
            self._give()
            if not turn.done():
                waits()
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the turn came first
                self._end(address)
            raise
        finally:
            self._owners.discard(owner)
        work = asyncio.ensure_future(anyio.to_thread.run_sync(function, limiter=anyio.CapacityLimiter(inf)))
        work.add_done_callback(lambda _: self._end(address))
        return await asyncio.shield(work)

    def _give(self) -> None:
        while self._running.total() < self.limit:
            address = next((each for each in self._waiting if self._running[each] < self.most), None)
            if address is None:
                return
            if not (turn := (line := self._waiting.pop(address)).popleft()).cancelled():
                turn.set_result(None)
                self._running[address] += 1
            if line:
                self._waiting[address] = line

    def _end(self, address: str) -> None:
        self._running -= Counter([address])  # drops addresses without a turn
        self._give()
