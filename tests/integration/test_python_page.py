"""Runs docs/python.md as printed, and compares its results with the command line's."""

import re
from pathlib import Path

import pytest
from command_line import Answer
from made_up_photos import blurred

import core
from core.common.paths import ROOT

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


def test_the_page_runs(
    answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blurred(tmp_path / "photos", [f"{i}.jpg" for i in range(8)], 1)
    monkeypatch.chdir(tmp_path)
    adapt, index, teach = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(adapt, {})
    capsys.readouterr()
    exec(index, {})
    added, *found = capsys.readouterr().out.splitlines()
    assert added.startswith("8 photos added")
    ask = ("search", "--library", "pictures.library", "--adapter", "surfing", "--top", 3)
    hits = answer(*ask, "a man on a wave")["rankings"]["adapter"]
    assert found == [f"{hit['score']:.3f} {hit['photo']}" for hit in hits]
    capsys.readouterr()
    exec(teach, {})
    found = capsys.readouterr().out.splitlines()
    hits = answer(*ask, "Mimi", "--names", "names.safetensors")["rankings"]["adapter"]
    assert [line.split(" ", 1)[1] for line in found] == [hit["photo"] for hit in hits]


def test_all_names_are_there() -> None:
    assert all(getattr(core, name) is not None for name in core.__all__) and sorted(core._HOME) == sorted(core.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = core.nothing
