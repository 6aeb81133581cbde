"""``check`` passes with the shipped files, in both dtypes and without a network, and names a file of which one byte changed."""

import html
import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Answer, Run
from network_isolation import nowhere

from app.languages import texts
from app.page.views import evidence
from core.common.paths import ASSETS, ROOT
from core.experts import check
from core.experts.check import REFERENCE, projections

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND = "python -m core check"
NAMES = ["weights", *check.ALLOWED, "search", "peft"]


@pytest.mark.slow
def test_it_passes_in_float32_and_fails_with_other_numbers_than_those_of_the_release(
    answer: Answer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SG_LORA_DTYPE", "float32")
    monkeypatch.setattr(check, "load", cache(check.load))
    told = answer("check")
    assert told["passed"] and [each["name"] for each in told["checks"] if each["passed"]] == NAMES
    expected = json.loads(REFERENCE.read_text())
    monkeypatch.setattr(check, "REFERENCE", tmp_path / "check.json")
    for change, allowed in check.ALLOWED.items():
        name = next(iter(expected[change]))
        expected[change][name] += 1.5 * allowed
    check.REFERENCE.write_text(json.dumps(expected))
    assert [each["name"] for each in check.check() if each["passed"] is False] == [*check.ALLOWED]


@pytest.mark.slow
def test_shipped_files_alone_pass_and_one_changed_byte_of_a_weight_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("core", "assets", "experts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "screenshots"))
    with nowhere() as alone:
        ran = subprocess.run([*alone, sys.executable, "-m", "core", "check"], cwd=tmp_path, capture_output=True, text=True)
    lines = ran.stdout.splitlines()
    assert [line.split()[1] for line in lines] == NAMES
    assert ran.returncode == 0 and {line[:6] for line in lines} == {"pass  "}, ran.stdout

    files = "assets/embedded/shared.safetensors", "experts/embedded/experts.safetensors"
    for file in files:
        content = bytearray((tmp_path / file).read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / file).write_bytes(content)
    for name in ("ASSETS", "EXPERTS"):
        monkeypatch.setattr(check, name, tmp_path / name.lower())
    monkeypatch.setattr(check, "load", lambda: 1 / 0)  # a damaged file may make anything fail
    code, out, _ = run("check")
    changed, loading = out.splitlines()
    assert code == 1 and changed.startswith("FAIL  weights") and all(file in changed for file in files)
    assert loading.startswith("FAIL  loading") and "ZeroDivisionError" in loading


def test_all_shipped_weights_are_checked() -> None:
    listed = json.loads(REFERENCE.read_text())["weights"]
    weights = {
        path.relative_to(ROOT).as_posix() for folder in ("assets", "experts") for path in (ROOT / folder).rglob("*.safe*")
    }
    assert weights <= set(listed) and "assets/embedded/words.txt" in listed and ASSETS / "check.json" == REFERENCE


def test_projections_tell_vectors_apart() -> None:
    vector = torch.from_numpy(np.random.default_rng(0).normal(size=100)).float()
    length, *rest = projections(vector[:40], vector[40:]).values()
    assert length == pytest.approx(float(vector.norm()), rel=1e-6) and len(rest) == 7
    angles = np.arange(100.0)
    assert rest == pytest.approx([float(vector.numpy() @ np.cos(n * angles)) for n in range(1, 8)], rel=1e-5)
    assert rest != pytest.approx([*projections(vector.flip(0)).values()][1:], rel=0.01)


def test_readme_and_page_say_the_same_line_and_the_figures_are_those_of_the_picture() -> None:
    results = README[README.index("## Results") : README.index("## When a sentence helps")]
    assert f"{texts.EVIDENCE_CHECK}\n\n    pip install -r requirements.txt\n    {COMMAND}\n" in results
    assert f"{texts.EVIDENCE_CHECK} <code>{COMMAND}</code>" in html.unescape(str(evidence.page(evidence.shipped())))
    photos, before, everyday, adapted = json.loads(REFERENCE.read_text())["opening"].values()
    figures = f"for {before} if search is not adapted, for {everyday} if it is adapted to everyday photos, and for {adapted} if"
    assert f"![{photos} aerial photos" in README and figures in README
