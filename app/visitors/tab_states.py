"""Gradio's state of every open tab and API client, and which of them end when there are too many."""

from __future__ import annotations

import threading
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

from gradio.state_holder import SessionState, StateHolder

from app.visitors.session import Session, leave

YOUNG_SECONDS = 60.0  # a tab used within this time is spared: a new one has nothing to lose yet, but soon will
MOST_YOUNG = 5  # times the capacity; beyond it, these end too
LOOK_SECONDS = 0.5  # between two looks for a tab to end, if there was none
CROWD = 10  # tabs of an address that has more than 1/CROWD of the capacity are not spared


class TabState(SessionState):
    """The state of a tab, without Gradio's description of all components and their values. Gradio keeps it for links to a
    state, which this app does not have. Making it takes a tenth of a second per caller."""

    def __init__(self, blocks: Any) -> None:
        undescribed: Any = SimpleNamespace(default_config=blocks.default_config, blocks={})
        super().__init__(undescribed)

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


class Tabs(StateHolder):
    """Ends tabs beyond the capacity, first those of the address that has the most.

    Of these, the tab with the least to lose ends, then the longest unused. Tabs that wait for an answer are spared. So are tabs
    that were just used, unless a crowd has their address. Gradio ends the longest unused tab, so a few hundred calls under
    made-up names would push out everybody's photos.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()  # reentrant: ``update`` calls ``end``
        self.look_again = 0.0  # monotonic seconds: all tabs are spared until then
        self.used: dict[str, float] = {}  # monotonic seconds: Gradio's ``time_last_used`` moves with the clock

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = TabState(self.blocks)
        return super().__getitem__(session_id)

    def update(self, session_id: str) -> None:
        """Mark a tab as the last used, and end others while there are too many."""
        with self.lock:
            self.used[session_id] = now = time.monotonic()
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            if len(self.session_data) <= self.capacity or now < self.look_again:
                return
            while len(self.session_data) > self.capacity:
                if (tab := self._next_to_end(session_id)) is None:  # to look at all tabs takes longer than an answer
                    self.look_again = now + LOOK_SECONDS
                    break
                self.end(tab)
        self.forget_answers()

    def _next_to_end(self, current: str) -> str | None:
        """The next tab to end; None if all others are waiting or in use."""
        queue: Any = self.blocks._queue  # an app.http.fair_queue.FairQueue, which lies above this room
        now = time.monotonic()
        others, busy = [tab for tab in list(self.session_data) if tab != current], queue.tabs_with_events()
        holders = {tab: queue.addresses.get(tab) for tab in others}
        held = Counter(address for address in holders.values() if address)
        old = {tab for tab in others if now - self.used.get(tab, 0) > YOUNG_SECONDS}
        old |= {tab for tab in others if held[holders[tab]] > max(2, self.capacity // CROWD)}
        settled = [tab for tab in others if tab in old and tab not in busy]
        if not settled and len(others) < MOST_YOUNG * self.capacity:
            return None
        return min(settled or others, key=lambda tab: (-held[holders[tab]], _worth(self.session_data[tab])))

    def end(self, tab: str) -> None:
        """Forget a tab and all that it showed."""
        with self.lock:
            state = self.session_data.pop(tab, None)
            self.time_last_used.pop(tab, None)
            self.used.pop(tab, None)
            for session in sessions_of(state):
                leave(session)

    def forget_answers(self) -> None:
        """Forget unfetched answers of tabs that are gone and wait for no other answer."""
        queue: Any = self.blocks._queue
        waiting = queue.tabs_with_events()
        for tab in list(queue.pending_event_ids_session):
            if tab not in waiting and tab not in self.session_data:
                queue.pending_event_ids_session.pop(tab, None)
                queue.pending_messages_per_session.pop(tab, None)


def sessions_of(state: SessionState | None) -> list[Session]:
    """Our sessions in the state of a tab."""
    return [] if state is None else [value for value in list(state.state_data.values()) if isinstance(value, Session)]


def _worth(state: SessionState) -> tuple[bool, int]:
    sessions = sessions_of(state)
    return any(s.album.busy for s in sessions), max((s.worth for s in sessions), default=0)
