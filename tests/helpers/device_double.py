"""A simulated GPU: tensors that report a device of their own, although their numbers are in the processor's memory.

Inside ``device_double()``, results are the same as on the processor. As on a GPU, an operation on tensors of two devices raises
an error. Each copy between the devices is recorded. As in torch, tensors without dimensions and index tensors may be on another
device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DOUBLE = torch.device("lazy:0")
aten = torch.ops.aten
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}


class DoubleTensor(Tensor):
    """A tensor that reports DOUBLE as its device. ``data_``: its numbers."""

    data_: Tensor

    @staticmethod
    def __new__(cls, data: Tensor) -> DoubleTensor:
        self = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, data.shape, strides=data.stride(), storage_offset=data.storage_offset(), dtype=data.dtype, device=DOUBLE
        )
        self.data_ = data
        return self

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"DoubleTensor({self.data_})"

    def __deepcopy__(self, memo: dict) -> DoubleTensor:
        copied = DoubleTensor(self.data_.detach().clone()).requires_grad_(self.requires_grad)
        copied._is_param = isinstance(self, torch.nn.Parameter)  # type: ignore[attr-defined]
        return memo.setdefault(id(self), copied)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return Moves.run(func, args, kwargs or {}, None)


@dataclass
class Moves:
    """The copies between the devices: (dtype, number of elements) of each."""

    to_device: list[tuple[torch.dtype, int]] = field(default_factory=list)
    to_host: list[tuple[torch.dtype, int]] = field(default_factory=list)

    @staticmethod
    def run(func: Any, args: Any, kwargs: dict[str, Any], moves: Moves | None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        doubles = [t for t in tensors if isinstance(t, DoubleTensor)]
        wanted = kwargs.get("device")
        if func in (aten._to_copy.default, aten.copy_.default):
            source = args[1] if func is aten.copy_.default else args[0]
            there = isinstance(args[0], DoubleTensor) if wanted is None else torch.device(wanted).type == DOUBLE.type
            if moves is not None and there is not isinstance(source, DoubleTensor):
                record = moves.to_device if there else moves.to_host
                record.append((source.dtype, source.numel()))
        elif doubles:
            compared = tensors[:1] if func in INDEXED else tensors
            mixed = [t for t in compared if not isinstance(t, DoubleTensor) and t.dim() > 0]
            if mixed:
                raise RuntimeError(f"{func}: expected all tensors to be on the same device, but got cpu and {DOUBLE}")
            there = True
        else:
            there = wanted is not None and torch.device(wanted).type == DOUBLE.type
        if wanted is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        plain_args, plain_kwargs = tree_map(lambda x: x.data_ if isinstance(x, DoubleTensor) else x, (args, kwargs))
        out = func(*plain_args, **plain_kwargs)
        if not there:
            return out
        if func._schema.name.endswith("_") and isinstance(args[0], DoubleTensor):  # in place
            return args[0]
        return tree_map(lambda x: DoubleTensor(x) if isinstance(x, Tensor) else x, out)


class _Mode(TorchDispatchMode):
    def __init__(self, moves: Moves) -> None:
        super().__init__()
        self.moves = moves

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return Moves.run(func, args, kwargs or {}, self.moves)


@contextmanager
def device_double() -> Iterator[Moves]:
    """In this block, ``tensor.to(DOUBLE)`` and ``module.to(DOUBLE)`` work without a GPU, in this thread and in thread pools."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    moves = Moves()
    submit = ThreadPoolExecutor.submit

    def submit_with_mode(pool: ThreadPoolExecutor, work: Callable[..., Any], *args: Any, **named: Any) -> Future[Any]:
        def run() -> Any:
            with _Mode(moves):
                return work(*args, **named)

        return submit(pool, run)

    torch._C._ensureCUDADeviceGuardSet()  # torch's fake tensors do the same, because there is no CUDA driver
    try:
        with patch("torch.cuda._lazy_init"), patch.object(ThreadPoolExecutor, "submit", submit_with_mode), _Mode(moves):
            yield moves
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
