"""The last snapshots of each expert's training, on disk; they train the generator (paper: 100 per expert)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from core.common.digest import digest
from core.common.errors import RepositoryError


def snapshots_file(runs: Path, expert: str) -> Path:
    """The file of an expert's snapshots [M, P] float16."""
    return runs / f"{digest(expert)[:16]}.safetensors"


def read_snapshots(runs: Path, experts: Sequence[str]) -> Tensor:
    """The snapshots [n, M, P] float16 of the experts with these names. Raises RepositoryError: when some are missing."""
    files = [snapshots_file(runs, name) for name in experts]
    missing = [name for name, file in zip(experts, files, strict=True) if not file.is_file()]
    if missing:
        raise RepositoryError(f"{runs} lacks snapshots ({missing[0]} for one): give the --cache of `train experts`, or run it.")
    return torch.stack([load_file(file)["snapshots"] for file in files])
