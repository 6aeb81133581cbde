"""Benchmarks on tiny sizes: sizes and ratios are right."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.cli.main import main
from core.data.sample_photos import sample_photos
from core.experiments.bench import adaptation, indexing, library, sample_jpegs
from core.experiments.bench.context import BenchmarkContext
from core.experiments.bench.timing import clocks, in_turn, times_longer
from core.sglora.engine import SGLora
from core.training.own_expert import OwnRecipe


@dataclass(frozen=True)
class LoadedContext(BenchmarkContext):
    """A benchmark context with a loaded engine."""

    engine: SGLora = field(kw_only=True)


@pytest.fixture
def setting(engine: SGLora) -> BenchmarkContext:
    """Tiny sizes, and the engine that other tests use, too."""
    return LoadedContext(rounds=1, largest=12, log=lambda _: None, engine=engine)


def test_everything_is_measured_in_turn_and_ratios_are_medians_over_rounds() -> None:
    done: list[str] = []
    times = in_turn({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, rounds=2)
    assert done == ["a", "b"] * 3 and times["a"].shape == times["b"].shape == (2, 2)
    one, other = np.array([[0.2, 0.1], [0.9, 0.1], [0.4, 0.1]]), np.array([[0.1, 0.05], [0.3, 0.1], [0.05, 0.2]])
    assert times_longer(one, other) == {"wall": 3.0, "cpu": 1.0}  # medians of 2, 3, 8 and of 2, 1, 0.5
    assert clocks(one[0] / 3) == {"wall": 0.06667, "cpu": 0.03333}


def test_every_photo_is_a_file_of_its_own_and_repeats_as_the_same() -> None:
    samples = len(sample_photos())
    files = sample_jpegs.jpegs(samples + 8, (96, 64))
    assert len({content for _, content in files}) == len({name for name, _ in files}) == samples + 8
    assert sample_jpegs.jpegs(3, (96, 64)) == files[:3]
    seen = [np.asarray(Image.open(io.BytesIO(files[n][1]))) for n in (0, 1, samples)]
    assert all(each.shape == (64, 96, 3) for each in seen)
    assert not np.array_equal(seen[0], seen[1]) and np.array_equal(seen[0], seen[2])
    assert min(float(each.std()) for each in seen) > 5, "a photo must not be a single colour"


@pytest.mark.slow
def test_indexing_is_measured_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "indexing", "--largest", "4", "--rounds", "1", "--json", "--out", str(tmp_path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "bench-indexing.json").read_text())
    assert written.pop("report")["command"] == "python -m core bench indexing" and printed == written
    assert [(r["width"], r["height"], r["photos"]) for r in printed["sizes"]] == [(*size, 4) for size in indexing.SIZES]
    for r in printed["sizes"]:
        rate = r["photos a second"]
        assert r["of the tower"]["wall"] == pytest.approx(
            rate[indexing.INDEXED]["wall"] / rate[indexing.TOWER]["wall"], rel=0.02
        )


@pytest.mark.slow
def test_library(setting: BenchmarkContext) -> None:
    result = library.run(setting)
    assert result["indexing"]["photos"] == result["indexing"]["encoded"] == 12
    assert result["indexing"]["bytes a photo"] > 2 * 768 + 2 * 4 * 768, "both embeddings: twice in float32, once in float16"
    assert [row["rows"] for row in result["growth"]] == [1_000]
    assert "1,000" in library.table(result) and library.findings(result)


@pytest.mark.slow
def test_adaptation(setting: BenchmarkContext) -> None:
    result = adaptation.run(setting, photos=20, recipe=OwnRecipe(batch=4, fixed_steps=2))
    taken, trained = result["milliseconds"], result["fine-tuning"]
    assert set(taken) == {"adapt", *adaptation.STEPS}
    assert sum(taken[step] for step in adaptation.STEPS) <= taken["adapt"]["wall"] * 1.01, "each step counts with its best time"
    assert trained["photos"] == 20
    ratio = trained["seconds"]["wall"] * 1000 / taken["adapt"]["wall"]
    assert result["times faster"]["wall"] == pytest.approx(ratio, rel=0.02), "with one round, the result is that round's ratio"
    assert len(adaptation.findings(result)) == 2 and len(adaptation.table(result).splitlines()) == 8
