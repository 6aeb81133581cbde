"""Several processes share the folds of an experiment: a tiny model, tiny data, five held-out categories."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from app_process import free_port
from made_up_photos import COLOURS, draw
from repositories import make_model

from core.backbones import load_backbone
from core.common.paths import ROOT
from core.experiments import unseen
from core.experiments.context import ExperimentContext
from core.experiments.folds import FoldRecipe
from core.training.generator import GeneratorRecipe
from core.training.recipe import ExpertRecipe
from core.training.shared_lora import BothHeadsRecipe

pytestmark = pytest.mark.slow

EXPERTS = ExpertRecipe(rank=2, steps=2, batch=8, snapshots=2, shared_rank=2, shared_steps=2, keyword=20, fine=40, least=20)
RECIPE = FoldRecipe(EXPERTS, GeneratorRecipe(steps=2), BothHeadsRecipe())
CODE = """
import os
import sys
from pathlib import Path
import test_folds
from core.experiments import unseen
# A log a process: in one stream, the lines of two processes come in halves.
with Path(f"{sys.argv[2]}.log.{os.environ['RANK']}").open("w") as log:
    context = test_folds.context(*map(Path, sys.argv[1:]), lambda line: print(line, file=log))
    unseen.run(context, test_folds.RECIPE, seeds=(0,))
"""


def context(data: Path, cache: Path, model: Path, log=lambda _: None) -> ExperimentContext:
    return ExperimentContext(data, cache, load_backbone(f"local-dir:{model}", adapt_blocks=1), log)


def test_two_processes_each_take_folds_and_find_what_one_finds(tmp_path: Path) -> None:
    data, lines = tmp_path / "data", []
    (data / "images").mkdir(parents=True)
    for i in range(5 * 70):
        draw(data / "images" / f"{i}.png", i % 3, i % 5, i)
        captions = [f"a {COLOURS[i % 5]} thing number {i // 7}", f"something {COLOURS[i % 5]}"]
        split = "test" if i >= 300 else "train"
        line = {"image": f"images/{i}.png", "split": split, "captions": captions, "categories": [f"{COLOURS[i % 5]} thing"]}
        lines.append(json.dumps(line))
    (data / "captions.jsonl").write_text("\n".join(lines))
    model = make_model(tmp_path / "model", 7)
    command = [sys.executable, "-c", CODE, str(data), str(tmp_path / "two"), str(model)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers"), str(Path(__file__).parent)])
    # What `accelerate launch` sets. tests/integration/test_open_clip_training.py runs the launcher itself.
    launch = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **launch}
    processes = [
        subprocess.Popen(command, env={**environment, "RANK": rank, "LOCAL_RANK": rank}, cwd=ROOT, stderr=subprocess.PIPE)
        for rank in "01"
    ]
    for process in processes:
        _, errors = process.communicate(timeout=250)
        assert process.returncode == 0, errors.decode()
    kept = list((tmp_path / "two" / "experiments" / "unseen").glob("fold*.json"))
    assert len(kept) == 5
    logs = [file.read_text() for file in tmp_path.glob("two.log.*")]
    assert len(logs) == 2 and all("experts\n" in log for log in logs)
    for fold in range(5):  # exactly one process trains each fold
        assert "".join(logs).count(f"fold {fold}, ") == 1
        assert len(re.findall(rf"fold{fold}-seed0-\w+: \d+ experts\n", "".join(logs))) == 1
    two = unseen.run(context(data, tmp_path / "two", model), RECIPE, seeds=(0,))
    one = unseen.fold_rows(context(data, tmp_path / "one", model), 3, RECIPE)
    assert sorted({row["fold"] for row in two["rows"]}) == [0, 1, 2, 3, 4]
    theirs = [row for row in two["rows"] if row["fold"] == 3]
    assert [(row["task"], row["variant"]) for row in one] == [(row["task"], row["variant"]) for row in theirs]
    # Rounding may move one or two photos.
    assert np.mean([row["R@5"] for row in one]) == pytest.approx(np.mean([row["R@5"] for row in theirs]), abs=1)
