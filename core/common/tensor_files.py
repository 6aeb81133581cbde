"""Writing and reading safetensors, and what reading them may raise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from core.common.files import whole

# Of a file that is damaged, or that somebody made up.
DAMAGED = (SafetensorError, OSError, LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, as a whole, and its folder, that others may read as far as the umask lets them.

    ``safetensors.torch.save_file`` makes files that only their owner may read, and one account may train what another serves.
    """
    content = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with whole(path) as partial:
        partial.write_bytes(save(content, None if metadata is None else dict(metadata)))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, and its metadata. Raises one of DAMAGED where it cannot be read."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 (no mapping)
