"""Write and read safetensors files."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from core.common.errors import AdapterError, BackboneError, StudioError
from core.common.files import whole

# What reading a damaged or forged file may raise.
DAMAGED = (SafetensorError, OSError, LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError)
MOST_HEADER = 8 * 2**20  # bytes of a header from outside: parsed, one as large as the file may be would take gigabytes


@contextmanager
def damage_raises(error: type[StudioError], file: object, then: str = "restore it") -> Iterator[None]:
    """A block that reads a file of tensors. Raises ``error``: when it is damaged, or its tensors are not a LoRA's."""
    try:
        yield
    except (*DAMAGED, AdapterError) as damage:
        raise error(f"{file} is damaged ({type(damage).__name__}): {then}.") from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file completely or not at all; create its folder if needed.

    ``safetensors.torch.save_file`` writes files that only their owner can read, but one account may train what another serves.
    So the umask decides who can read this file.
    """
    content = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with whole(path) as partial:
        partial.write_bytes(save(content, None if metadata is None else dict(metadata)))


def header_of(content: bytes) -> dict[str, Any]:
    """The header of a safetensors file, before its tensors are read: facts by tensor, and "__metadata__". Raises one of
    DAMAGED: when it is no JSON object, longer than the file, or larger than MOST_HEADER."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size]) if size <= min(MOST_HEADER, len(content) - 8) else None
    if not isinstance(header, dict):
        raise ValueError("no header")
    return header


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file. Raises one of DAMAGED: when it cannot be read."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 (no mapping)


def shipped_tensors(path: Path, owner: str) -> dict[str, Tensor]:
    """The tensors in float32 of a file that ships for one model; {} if there is none, or if it names another ``owner``. Raises
    BackboneError: when it is damaged."""
    if not path.is_file():
        return {}
    with damage_raises(BackboneError, path.name):
        tensors, metadata = read_tensors(path)
    return {name: tensor.float() for name, tensor in tensors.items()} if owner in metadata.values() else {}
