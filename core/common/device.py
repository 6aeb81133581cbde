"""The device that the heavy computations of this process run on, and how numbers get there.

One choice for command line, app and training. Models keep what is cached and compared (prefix activations, embeddings, LoRAs)
on the CPU: only batches travel, in half precision where they are cached in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from core.common.errors import BackboneError
from core.common.runtime import compute_dtype

CPU = torch.device("cpu")
GPU_FACTOR = 8  # so many times the photos that suit a processor's caches fill a GPU
_chosen: torch.device | None = None


def use(name: str = "auto") -> torch.device:
    """Choose the device of this process: "cuda" (or "cuda:1"), "mps", "cpu", or "auto", the first of them that is there. Raises
    BackboneError: this machine, or the torch that is installed, has no such device."""
    global _chosen
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cuda", "mps", "cpu"):
        raise BackboneError(f"--device {name}: it is auto, cuda (or cuda:1 and so on), mps or cpu.")
    if device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count():
        why = "this torch was built without CUDA" if torch.version.cuda is None else "torch finds no such GPU"
        raise BackboneError(f"--device {name}: {why}. Leave --device out, or choose cpu.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise BackboneError("--device mps: torch finds no Apple GPU here. Leave --device out, or choose cpu.")
    _chosen = device
    return device


def current() -> torch.device:
    """The device that was chosen; without a choice that of "auto"."""
    return _chosen or use()


def autocast(device: torch.device, dtype: torch.dtype | None = None) -> AbstractContextManager[object]:
    """Matrix products of this block in a dtype (None: ``compute_dtype`` of the device); float32 leaves all as it is."""
    dtype = dtype or compute_dtype(device)
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def training_autocast(device: torch.device) -> AbstractContextManager[object]:
    """As ``autocast``, in float32 where only float16 is fast: small gradients vanish in it."""
    dtype = compute_dtype(device)
    return autocast(device, torch.float32 if dtype == torch.float16 else dtype)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on the device; to a CUDA device from pinned memory, so that the copy runs beside computations."""
    if device.type == "cuda" and tensor.device.type == "cpu" and torch.cuda.is_available():
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def prefetched(parts: Sequence[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Parts on the device; a thread pins and sends the next one while the caller computes with this one."""
    if device.type == "cpu" or len(parts) < 2:
        yield from (sent(part, device) for part in parts)
        return
    with ThreadPoolExecutor(1, "prefetch") as pool:
        ahead = pool.submit(sent, parts[0], device)
        for following in parts[1:]:
            here, ahead = ahead.result(), pool.submit(sent, following, device)
            yield here
        yield ahead.result()


def batch_size(device: torch.device, on_cpu: int) -> int:
    """How many photos at once keep the device busy, given how many suit a processor."""
    return on_cpu if device.type == "cpu" else GPU_FACTOR * on_cpu
