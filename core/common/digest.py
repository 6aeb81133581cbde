"""Identify content by its sha256, in hexadecimal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def digest(content: str | bytes) -> str:
    """64 hexadecimal digits. A text is encoded as UTF-8."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """64 hexadecimal digits over names, shapes and numbers, sorted by name."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        content.update(f"{name} {tuple(tensor.shape)} ".encode())
        content.update(tensor.numpy().tobytes())
    return content.hexdigest()
