"""Progress of long work: a bar on a terminal, a few log lines elsewhere."""

import io
import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from core.common.text import printable

Log = Callable[[str], None]
Progress = Callable[[int, int], object]  # gets what is done, and all
Stop = Callable[[], bool]  # whether to end early
SECONDS = 60.0  # between log lines


def never() -> bool:
    """The default ``stop``: work runs to the end."""
    return False


def silent(line: str) -> None:
    """A log that drops its lines."""


def say(line: str) -> None:
    """Print a line on stderr, above the bars."""
    tqdm.write(printable(line), file=sys.stderr)


class Bar(tqdm):
    """Progress of one piece of work, with an estimate of the time left: ``with Bar(...) as bar: ... bar.to(done)``.

    On a terminal it is a bar. Elsewhere the log gets a line at the start, about every minute and at the end.

    Args:
        total: the amount of work; None if unknown. log: receives the lines; ``silent`` shows nothing. unit: what is counted.
        first: the amount done before.
    """

    def __init__(self, title: str, total: int | None, log: Log, unit: str = "photos", first: int = 0) -> None:
        looks: dict[str, Any] = {"file": sys.stderr, "dynamic_ncols": True}
        self._log = None
        if log is not silent and (not sys.stderr.isatty()):
            line = "{desc}: {n:,}" + ("{unit}{postfix}" if total is None else "/{total:,}{unit}{postfix}, {remaining} left")
            looks = {"file": io.StringIO(), "bar_format": line, "mininterval": SECONDS, "maxinterval": SECONDS}
            self._log = log
        super().__init__(total=total, desc=title, unit=f" {unit}", initial=first, disable=log is silent, **looks)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if self._log is None:
            super().display(msg, pos)
        else:
            self._log(str(self))

    def to(self, done: int, note: str = "") -> None:
        """Set the amount done. ``note`` is the latest figure, such as a loss."""
        self.set_postfix_str(note, refresh=False)
        self.update(done - self.n)


class Steps:
    """A callback for work that reports its steps. Each has a bar, which closes when all is done or the next step begins."""

    def __init__(self, log: Log) -> None:
        self._log, self._step, self._bar = log, "", Bar("", None, silent)

    def __call__(self, step: str, done: int, total: int, unit: str = "photos") -> None:
        """Show the amount done of a step; ``total`` is 0 if it is unknown."""
        if step != self._step:
            self._bar.close()
            self._step, self._bar = step, Bar(step, total or None, self._log, unit, first=done)
        self._bar.to(done)
        if total and done >= total:
            self._bar.close()
