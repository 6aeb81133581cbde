"""Safetensors files. The library reads them back, they have the permissions of any new file, and are whole."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from core.common.files import whole
from core.common.tensor_files import write_tensors


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    tensors, path, plain = {"a": torch.arange(6.0).view(2, 3).T}, tmp_path / "x.safetensors", tmp_path / "plain"
    write_tensors(path, tensors, {"said": "so"})
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode
    with safe_open(path, framework="pt") as file:
        assert torch.equal(file.get_tensor("a"), tensors["a"]) and file.metadata() == {"said": "so"}


def test_a_run_that_stops_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("before")
    with pytest.raises(KeyboardInterrupt), whole(tmp_path / "x") as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("x", "before")]
