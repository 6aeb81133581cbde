"""How far long work is: a bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core.common.text import printable

if TYPE_CHECKING:
    from tqdm import tqdm

Log = Callable[[str], None]
SECONDS = 60.0  # a line after so long, if no tenth of the work was done meanwhile
_bars = 0


def silent(line: str) -> None:
    """A log of nothing, for processes that leave it to the first one to speak."""


def say(line: str) -> None:
    """A line on stderr, above the bars that are drawn there."""
    line = printable(line)
    if _bars:
        from tqdm import tqdm

        tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr, flush=True)


class Bar:
    """The progress of one piece of work, ``with Bar(...) as bar: ... bar.to(done)``.

    On a terminal it is a bar of tqdm with an estimate. Elsewhere the log gets a line at the start, at every tenth, after every
    minute and at the end. Several processes of `accelerate launch` share a terminal: they write lines, too.

    Args:
        total: how much there is; None where unknown. log: gets the lines; ``silent`` is silence. unit: what is counted.
        first: how much was done before. started: when, as ``time.monotonic`` has it (None: now).
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
            global _bars
            from tqdm import tqdm

            _bars += 1
            self._drawn = tqdm(total=total, desc=title, unit=f" {unit}", initial=first, file=sys.stderr, dynamic_ncols=True)
            self._drawn.start_t -= self._last - self._started
        elif total is None:
            log(f"{title} …")
        else:
            log(f"{title}: {total - first:,} {unit}")

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """The last of it; more than once does nothing."""
        if self._drawn is not None:
            global _bars
            _bars -= 1
            self._drawn.close()
            self._drawn = None

    def to(self, done: int, note: str = "") -> None:
        """So much is done by now; ``note`` is the latest that is known, such as a loss."""
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


def counter(title: str, log: Log, unit: str = "photos") -> Callable[[int, int], None]:
    """A bar for work that reports (done, total), from the first report on until all is done."""
    bars: list[Bar] = []
    started = time.monotonic()

    def report(done: int, total: int) -> None:
        if not bars:
            bars.append(Bar(title, total, log, unit, started=started))
        bars[0].to(done)
        if done >= total:
            bars[0].close()

    return report


def duration(seconds: float) -> str:
    """As people say it: "40 seconds", "5 minutes", "2.5 hours"."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5_400 else f"{seconds / 3600:.1f} hours"
