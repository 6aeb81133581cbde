"""Writing safetensors, and what reading them may raise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

# Of a file that is damaged, or that somebody made up.
DAMAGED = (SafetensorError, OSError, LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, and its folder, that others may read as far as the umask lets them.

    ``safetensors.torch.save_file`` makes files that only their owner may read, and one account may train what another serves.
    """
    content = {name: tensor.contiguous() for name, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save(content, None if metadata is None else dict(metadata)))
