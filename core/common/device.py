"""The device for the heavy computations of this process, and transfers to it.

Command line, app and training share one choice. Prefix activations, embeddings and LoRAs stay on the CPU. Only batches move to
the device, in the precision in which they are cached.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from core.common.errors import BackboneError
from core.common.runtime import compute_dtype

CPU = torch.device("cpu")
GPU_FACTOR = 8  # a GPU batch has this many times the photos of a CPU batch
_chosen: torch.device | None = None


def use(name: str = "auto") -> torch.device:
    """Choose the device of this process: "cuda" (or "cuda:1"), "mps", "cpu", or "auto" (the first of these that is available).
    Raises BackboneError: when this machine or the installed torch has no such device."""
    global _chosen
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # as torch says that a device is unknown, missing or not compiled in
        device = None
    if device is None or device.type not in ("cuda", "mps", "cpu"):
        raise BackboneError(f"--device {name} is unknown or not here: leave it out, or choose cuda (cuda:1, …), mps or cpu.")
    _chosen = device
    return device


def current() -> torch.device:
    """The chosen device; by default the one for "auto"."""
    return _chosen or use()


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Compute the matrix products of a block in a dtype. float32 changes nothing."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def training_autocast(device: torch.device) -> AbstractContextManager[object]:
    """``autocast`` for training: float32 instead of float16, in which small gradients vanish."""
    dtype = compute_dtype(device)
    return autocast(device, torch.float32 if dtype == torch.float16 else dtype)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to the device. For CUDA, pin it first, so that the copy runs in parallel with computations."""
    if device.type == "cuda" and tensor.device.type == "cpu" and torch.cuda.is_available():
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def batch_size(device: torch.device, on_cpu: int) -> int:
    """The number of photos in a batch, given the best number for a CPU."""
    return on_cpu if device.type == "cpu" else GPU_FACTOR * on_cpu
