"""Gradio's queue, in which a visitor with many requests does not keep others waiting."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from fastapi import HTTPException
from gradio import queueing, route_utils
from gradio.context import LocalContext
from gradio.utils import LRUCache

from app import texts
from app.http.addresses import address_of

REMEMBERED_TABS = 10_000  # tabs whose addresses are remembered
WAITING, OWN_WAITING = 64, 8  # most events that wait: of a kind; of one tab or address
OWN_AT_WORK, OWN_WORKING = 2, {"photos": 1}  # most running events of one address: of a kind; of special kinds


class FairQueue(queueing.Queue):
    """Bounds events by visitor and by kind. Gradio has one limit for all events together, which one client reaches alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.addresses: LRUCache[str, str] = LRUCache(REMEMBERED_TABS)  # the addresses of the last tabs' events

    async def push(self, body: Any, request: Any, username: str | None) -> Any:
        """As in Gradio. Raises HTTPException: when too many events of this visitor, or of this kind, wait."""
        fn, address = route_utils.get_fn(self.blocks, None, body), address_of(request)
        waiting = [event for group in self.event_queue_per_concurrency_id.values() for event in group.queue]
        this_tab = sum(event.session_hash == body.session_hash for event in waiting)
        this_address = sum(address_of(event.request) == address for event in waiting) if address else 0
        if max(this_tab, this_address) >= OWN_WAITING:
            raise HTTPException(429, texts.QUEUE_FULL_OWN.format(n=OWN_WAITING))
        if sum(event.concurrency_id == fn.concurrency_id for event in waiting) >= WAITING:
            raise HTTPException(429, texts.QUEUE_FULL)
        if body.session_hash:
            self.addresses[body.session_hash] = address
        return await super().push(body=body, request=request, username=username)

    def get_events(self) -> tuple[list[queueing.Event], bool, str] | None:
        """As in Gradio, but an address, or a tab without one, has only a few events of a kind at work. Others go before."""
        working = Counter((event.concurrency_id, _whose(event)) for job in self.active_jobs for event in job or ())
        groups = list(self.event_queue_per_concurrency_id.items())
        random.shuffle(groups)
        for kind, group in groups:
            if group.concurrency_limit is not None and group.current_concurrency >= group.concurrency_limit:
                continue
            most = OWN_WORKING.get(kind, OWN_WAITING if group.concurrency_limit is None else OWN_AT_WORK)
            for event in group.queue:
                if working[kind, _whose(event)] < most:
                    group.queue.remove(event)
                    return [event], False, kind
        return None

    def tabs_with_events(self) -> set[str]:
        """The tabs whose events wait or run."""
        return {event.session_hash for event in list(self.event_ids_to_events.values())}


def _whose(event: Any) -> str:
    """The address of an event, or its tab if it has none."""
    whose = getattr(event, "whose", None)
    if whose is None:
        whose = event.whose = address_of(event.request) or event.session_hash
    return whose


def visitor_left() -> Callable[[], bool]:
    """A function that returns whether the client of the current event has left."""
    page, number = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    event = None if page is None or number is None else page._queue.event_ids_to_events.get(number)
    return lambda: event is not None and not event.alive
