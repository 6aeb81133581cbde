"""Progress: a few lines in a file, a bar in a terminal, nothing in silent processes."""

from __future__ import annotations

import io
import sys
from functools import partial
from types import SimpleNamespace

import pytest
from tqdm import tqdm

from core.common import progress
from core.common.progress import Bar, Steps, duration, say, silent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("total", "most"), [(1, 2), (7, 8), (10_000, 11)])
def test_a_file_gets_a_line_at_every_tenth(total: int, most: int) -> None:
    lines: list[str] = []
    with Bar("reading", total, lines.append) as bar:
        for done in range(1, total + 1):
            bar.to(done, "loss 1.2")
    assert len(lines) == most
    assert lines[0] == f"reading: {total:,} photos" and lines[-1] == f"reading: {total:,}/{total:,} photos, loss 1.2"
    assert all("about" in line and "left" in line for line in lines[1:-1])


def test_work_that_goes_on_where_it_stopped_counts_from_there() -> None:
    lines: list[str] = []
    bar = Bar("training", 100, lines.append, "steps", first=95)
    bar.to(100)
    assert lines == ["training: 5 steps", "training: 100/100 steps"]


def test_slow_work_says_something_every_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    bar = Bar("training", 1_000, lines.append, "steps")
    for done in range(1, 11):
        now[0] += 30
        bar.to(done)
    assert (4 <= len(lines[1:]) <= 5 and lines[1].endswith("about 8.2 hours left")) or "hours left" in lines[1]
    report = partial(Steps(lines.append), "reading")
    now[0] += 10
    report(10, 40)  # the time before the first report counts, too
    assert lines[-1] == "reading: 10/40 photos, about 30 seconds left"
    unknown = Bar("looking", None, lines.append)
    now[0] += 61
    unknown.to(5_000)
    assert lines[-1] == "looking: 5,000 photos"


def test_a_terminal_gets_a_bar_and_lines_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    report = partial(Steps(lines.append), "reading")
    report(1, 4)
    say("left out: a.jpg")
    report(4, 4)
    say("done")
    drawn = terminal.getvalue()
    assert not lines and "reading: 100%" in drawn and "4/4" in drawn
    assert "left out: a.jpg\n" in drawn
    assert drawn.endswith("done\n") and not tqdm._instances
    monkeypatch.setenv("LOCAL_RANK", "1")  # one of several processes that share the terminal
    Steps(lines.append)("reading", 2, 2)
    assert lines


def test_silence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with Bar("reading", 3, silent) as bar:
        bar.to(3)
    assert not terminal.getvalue() and capsys.readouterr() == ("", "")


def test_durations() -> None:
    assert [duration(s) for s in (40, 300, 9_000)] == ["40 seconds", "5 minutes", "2.5 hours"]
