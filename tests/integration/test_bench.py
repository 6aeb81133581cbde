"""Benchmarks run end to end on small sizes. Their arithmetic agrees with numbers computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.cli.main import main
from core.experiments.bench.timing import clocks, in_turn, times_longer
from core.experiments.registry import BENCHMARKS

pytestmark = pytest.mark.slow


def test_ratios_are_medians_over_rounds() -> None:
    one, other = np.array([[0.2, 0.1], [0.9, 0.1], [0.4, 0.1]]), np.array([[0.1, 0.05], [0.3, 0.1], [0.05, 0.2]])
    assert times_longer(one, other) == {"wall": 3.0, "cpu": 1.0}  # medians of 2, 3, 8 and of 2, 1, 0.5
    assert clocks(one[0] / 3) == {"wall": 0.06667, "cpu": 0.03333}


def test_everything_is_measured_in_turn() -> None:
    done: list[str] = []
    times = in_turn({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, rounds=2)
    assert done == ["a", "b"] * 3 and times["a"].shape == times["b"].shape == (2, 2)


def test_indexing_is_measured_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "indexing", "--largest", "4", "--rounds", "1", "--json", "--out", str(tmp_path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "bench-indexing.json").read_text())
    assert written.pop("report")["command"] == "python -m core bench indexing"
    assert printed == written
    assert [row["photos"] for row in printed["sizes"]] == [4] * len(printed["sizes"])
    assert all(rate[clock] > 0 for row in printed["sizes"] for rate in row["photos a second"].values() for clock in rate)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_is_complete(name: str) -> None:
    module = BENCHMARKS[name].module
    assert all(callable(getattr(module, part)) for part in ("run", "findings", "table"))
