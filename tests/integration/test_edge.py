"""Limits that really hold, a device's answer against the same work in this process, and bytes against files."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_folds import made_up_study
from PIL import Image

from core.backbones.embedded import load_embedded
from core.backbones.peft_format import save_peft
from core.common.errors import DataError
from core.common.metrics import measure
from core.common.paths import ROOT, heads_path
from core.data import Sample
from core.data.image_io import open_photo
from core.experiments import edge, figures
from core.experiments.context import ExperimentContext
from core.experiments.edge_worker import FINE_TUNE, GENERATE
from core.experiments.statistics import both_ways
from core.sglora.engine import SGLora
from core.sglora.load import load_engine
from core.training.experts import ExpertRecipe
from core.training.features import Features
from core.training.task_dataset import Pool
from core.training.tasks import Task

RECIPE = ExpertRecipe(batch=4, fresh_steps=3, fresh_check=1)
TASK = Task("surfing", "a photo of a surfer", "scenes", "made-up", np.arange(6), np.arange(6, 8), np.arange(8, 14))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux enforces these limits")


@pytest.fixture(scope="module")
def engine() -> SGLora:
    return load_engine(load_embedded(heads_path()))


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory, engine: SGLora) -> ExperimentContext:
    """Fourteen photos of noise in files, and a task of them."""
    folder, rng = tmp_path_factory.mktemp("edge"), np.random.default_rng(0)
    samples = []
    for i in range(14):
        path = folder / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
        samples.append(Sample(path, (f"caption {i}", f"photo number {i}")))
    maps = np.concatenate([engine.backbone.prefix(engine.backbone.pixels(open_photo(s.path))[None]) for s in samples])
    context = ExperimentContext(folder, folder / "cache", engine.backbone, lambda line: None)
    vars(context)["pool"] = Pool.of(samples, [TASK], [Features([(maps, np.arange(14))])], engine.backbone.encode_text)
    return context


def limited(memory: int, code: str) -> subprocess.CompletedProcess[str]:
    program = f"from core.experiments.edge_worker import limit\nlimit({memory})\n{code}"
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_limits_hold() -> None:
    code = "import pathlib; data = bytearray(100 * 2**20); print(pathlib.Path('/proc/self/status').read_text())"
    small, large = limited(64, code), limited(256, code)
    assert small.returncode != 0 and "MemoryError" in small.stderr
    assert large.returncode == 0
    status = dict(line.split(":\t") for line in large.stdout.splitlines() if ":\t" in line)
    assert bin(int(status["Cpus_allowed"].replace(",", ""), 16)).count("1") == 1
    # A library's threads find one core, too.
    assert limited(2048, "import torch; print(torch.get_num_threads())").stdout.strip() == "1"


def test_typical_tasks_lie_in_the_middle() -> None:
    held = [replace(TASK, name=str(n), train=np.arange(n)) for n in (9, 1, 5)]
    held += [replace(TASK, name=f"food-{n}", group="food", train=np.arange(n)) for n in (30, 10, 20, 40)]
    assert [t.name for t in edge.typical(held)] == ["5", "food-30"]
    assert [t.name for t in edge.typical(held[:3])] == ["5"]


def test_a_device_answers_as_this_process_would(
    context: ExperimentContext, engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "LIMITS", (256, 2048))  # the first is too small for the towers
    result = edge.measured(context, engine.repository, engine.generator, [TASK], RECIPE)
    (row,) = result["tasks"]
    for way in edge.WAYS:
        found = row["ways"][way]
        assert (found["cores"], found["memory"], found["failed"]) == (1, 2048, [256])
        assert 256 < found["peak"] < 2048
        assert all(spent["cpu"] > 0 and spent["wall"] > 0 for spent in found["seconds"].values())

    adaptation = engine.adapt(TASK.description)
    maps, texts, relevance = context.pool.evaluation(TASK.test)
    for lora, name in ((None, "zero-shot"), (adaptation.lora, "adapted")):
        here = both_ways(measure(engine.backbone.suffix(maps, lora), texts, relevance))
        assert row["ways"][GENERATE]["recall"][name] == pytest.approx(here, abs=9)  # float16 files may turn one of six photos
    assert row["ways"][GENERATE]["recall"]["zero-shot"] == row["ways"][FINE_TUNE]["recall"]["zero-shot"]

    save_peft(adaptation.lora, tmp_path, engine.backbone.fingerprint, engine.backbone.name, {})
    assert row["ways"][GENERATE]["adapter"] == sum(f.stat().st_size for f in tmp_path.iterdir())
    assert row["bytes"]["photos"] == sum(context.pool.samples[i].path.stat().st_size for i in range(8))
    assert row["bytes"]["sentence"] == len("a photo of a surfer")
    assert row["bytes"]["captions"] == sum(len(f"caption {i}photo number {i}") for i in range(8))
    assert (row["photos"], row["texts"], row["gallery"]) == (8, 16, 6)
    seconds = row["ways"][FINE_TUNE]["seconds"]
    assert edge.needed(row, FINE_TUNE) == pytest.approx(
        8 * seconds["photos"]["cpu"] + 16 * seconds["captions"]["cpu"] + seconds["adapt"]["cpu"]
    )
    assert len(edge.findings(result)) == 4
    assert "| surfing | fine-tune, by a server |" in edge.table(result)
    assert figures.svg(edge.plot, result).startswith("<svg")

    def never(job: object) -> None:
        raise AssertionError("what was measured is not measured again")

    monkeypatch.setattr(edge, "attempt", never)
    assert edge.measured(context, engine.repository, engine.generator, [TASK], RECIPE) == result
    assert json.loads(json.dumps(result)) == result


def test_what_cannot_be_measured_is_said(
    context: ExperimentContext, engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = (engine.repository, engine.generator, [TASK], RECIPE)
    with pytest.raises(DataError, match="not known by file"):
        edge.measured(made_up_study(tmp_path), *parts)
    monkeypatch.setattr(edge, "LIMITS", (256,))
    with pytest.raises(DataError, match=r"one core with 256 MB failed: ."):  # which library runs out first is chance
        edge.measured(context, *parts)
