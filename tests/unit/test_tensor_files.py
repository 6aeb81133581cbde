"""Safetensors files. The library reads them back, and they have the permissions of any new file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open

from core.common.tensor_files import write_tensors


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    tensors, path, plain = {"a": torch.arange(6.0).view(2, 3).T}, tmp_path / "x.safetensors", tmp_path / "plain"
    write_tensors(path, tensors, {"said": "so"})
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode
    with safe_open(path, framework="pt") as file:
        assert torch.equal(file.get_tensor("a"), tensors["a"]) and file.metadata() == {"said": "so"}
