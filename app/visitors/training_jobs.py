"""Trainings that run, so that a visitor can stop one and a closed browser ends its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Trainings:
    """One training a tab; tabs are told apart by Gradio's session hash."""

    def __init__(self) -> None:
        self._running: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    @contextmanager
    def begin(self, tab: str) -> Iterator[threading.Event]:
        """The event that stops the training in this block."""
        stop = threading.Event()
        with self._lock:
            before = self._running.get(tab)
            self._running[tab] = stop
        if before is not None:
            before.set()
        try:
            yield stop
        finally:
            with self._lock:
                if self._running.get(tab) is stop:
                    del self._running[tab]

    def stop(self, tab: str | None) -> bool:
        """Stop a tab's training; False where none runs."""
        with self._lock:
            stop = self._running.get(tab or "")
        if stop is not None:
            stop.set()
        return stop is not None
