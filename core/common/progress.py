"""Progress of long work: a bar on a terminal, a few log lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from tqdm import tqdm

from core.common.text import printable

Log = Callable[[str], None]
SECONDS = 60.0  # the longest time between log lines, if no tenth of the work is done


def silent(line: str) -> None:
    """A log that drops its lines, for all processes but the first."""


def say(line: str) -> None:
    """Print a line on stderr, above the bars."""
    tqdm.write(printable(line), file=sys.stderr)


class Bar(AbstractContextManager["Bar"]):
    """Progress of one piece of work: ``with Bar(...) as bar: ... bar.to(done)``.

    On a terminal it is a tqdm bar with an estimate of the time left. Elsewhere the log gets a line at the start, at every
    tenth, after every minute and at the end. Processes of `accelerate launch` share a terminal, so they write lines too.

    Args:
        total: the amount of work; None if unknown. log: receives the lines; ``silent`` shows nothing. unit: what is counted.
        first: the amount done before. started: the start, in ``time.monotonic``'s seconds (None: now).
    """

    def __init__(
        self, title: str, total: int | None, log: Log, unit: str = "photos", first: int = 0, started: float | None = None
    ) -> None:
        self._title, self._total, self._log, self._unit = title, total, log, unit
        self._first = self._done = first
        self._last = time.monotonic()
        self._started = self._last if started is None else started
        self._drawn: tqdm[Any] | None = None
        if log is silent:
            return
        if sys.stderr.isatty() and "LOCAL_RANK" not in os.environ:
            self._drawn = tqdm(total=total, desc=title, unit=f" {unit}", initial=first, file=sys.stderr, dynamic_ncols=True)
            self._drawn.start_t -= self._last - self._started
        elif total is None:
            log(f"{title} …")
        else:
            log(f"{title}: {total - first:,} {unit}")

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the bar; further calls do nothing."""
        if self._drawn is not None:
            self._drawn.close()
            self._drawn = None

    def to(self, done: int, note: str = "") -> None:
        """Set the amount done. ``note`` is the latest figure, such as a loss."""
        if self._drawn is not None:
            if note:
                self._drawn.set_postfix_str(note, refresh=False)
            self._drawn.update(done - self._drawn.n)
        elif self._log is not silent:
            now, total = time.monotonic(), self._total
            tenth = total is not None and done * 10 // max(1, total) > self._done * 10 // max(1, total)
            if tenth or now - self._last > SECONDS:
                self._last = now
                line = f"{self._title}: {done:,}{'' if total is None else f'/{total:,}'} {self._unit}"
                line += f", {note}" if note else ""
                if total is not None and done not in (self._first, total):
                    line += f", about {duration((now - self._started) / (done - self._first) * (total - done))} left"
                self._log(line)
        self._done = done


class Steps:
    """A callback for work that reports its steps. Each has a bar, which closes when all is done or the next step begins."""

    def __init__(self, log: Log) -> None:
        self._log, self._step, self._bar, self._last = log, "", Bar("", None, silent), time.monotonic()

    def __call__(self, step: str, done: int, total: int, unit: str = "photos") -> None:
        """Show the amount done of a step; ``total`` is 0 if it is unknown."""
        if step != self._step:
            self._bar.close()
            self._step, self._bar = step, Bar(step, total or None, self._log, unit, started=self._last)
        self._last = time.monotonic()
        self._bar.to(done)
        if total and done >= total:
            self._bar.close()


def duration(seconds: float) -> str:
    """A duration as text: "40 seconds", "5 minutes", "2.5 hours"."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5_400 else f"{seconds / 3600:.1f} hours"
