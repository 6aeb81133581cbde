"""The last snapshots of each expert's training, on disk: what the generator is trained on (paper: 100 of each expert)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from core.common.digest import digest
from core.common.errors import RepositoryError


def snapshots_file(runs: Path, expert: str) -> Path:
    """Where the snapshots [M, P] of an expert are kept, in float16."""
    return runs / f"{digest(expert)[:16]}.safetensors"


def read_snapshots(runs: Path, experts: Sequence[str]) -> Tensor:
    """[n, M, P] float16 of the experts of these names; raises RepositoryError where some are missing."""
    files = [snapshots_file(runs, name) for name in experts]
    missing = [name for name, file in zip(experts, files, strict=True) if not file.is_file()]
    if missing:
        raise RepositoryError(
            f"The snapshots of {len(missing)} experts ({missing[0]} for one) are not in {runs}: give the --data and --cache of "
            "`python -m core train experts`, one cache for all machines, or run it again."
        )
    return torch.stack([load_file(file)["snapshots"] for file in files])
