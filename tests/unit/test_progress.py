"""Progress: a few lines in a file, a bar in a terminal, nothing in silent processes."""

import io
import sys
import time
from functools import partial

import pytest
from tqdm import tqdm

from core.common import progress
from core.common.progress import Bar, Steps, say, silent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_lines_at_the_start_at_the_end_and_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    with Bar("reading", 10_000, lines.append, first=9_000) as bar:
        for done in range(9_001, 10_001):
            bar.to(done, "loss 1.2")
    assert lines == ["reading: 9,000/10,000 photos, ? left", "reading: 10,000/10,000 photos, loss 1.2, 00:00 left"]
    monkeypatch.setattr(progress, "SECONDS", 0.01)
    report = partial(Steps(lines.append), "looking")
    for done in (1_000, 2_000):
        report(done, 0)
        time.sleep(0.02)
    assert lines[2:] == ["looking: 1,000 photos", "looking: 2,000 photos"]


def test_a_terminal_gets_a_bar_and_lines_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    report = partial(Steps(lines.append), "reading")
    report(1, 4)
    say("left out: a.jpg")
    report(4, 4)
    say("done")
    with Bar("reading", 3, silent) as bar:
        bar.to(3)
    drawn = terminal.getvalue()
    assert not lines and "reading: 100%" in drawn and "4/4" in drawn
    assert "left out: a.jpg\n" in drawn
    assert drawn.endswith("done\n") and not tqdm._instances
