"""A Space on ZeroGPU: both halves of a large image tower run on the GPU, one call at a time.

``@spaces.GPU`` runs a function in a forked process. Arguments and results are pickled, and what the function changes stays in
that process. So only ``prefix`` and ``suffix`` of a backbone run there: they change nothing. All else stays on the CPU:
sentences, mixing, search, own experts, and the embedded backbone, which is small. The CPU also computes when the GPU is
refused, as when a visitor's quota is used up. https://huggingface.co/docs/hub/spaces-zerogpu
"""

import copy
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr
from torch import Tensor

from core.backbones import EMBEDDED, load_backbone
from core.backbones.base import Backbone
from core.common import device

try:  # installed on a Space; must be imported before anything asks for CUDA
    from spaces import GPU  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError:

    def GPU(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return function


log = logging.getLogger(__name__)
HERE = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
_backbones: dict[str, Backbone] = {}  # read by forked processes


def with_gpu(backbone: Backbone) -> Backbone:
    """The backbone itself; on ZeroGPU a copy whose ``prefix`` and ``suffix`` run on the GPU."""
    if not HERE or backbone.name == EMBEDDED:
        return backbone
    _backbones.setdefault(backbone.prefix_key, backbone)
    visiting: Any = copy.copy(backbone)
    visiting.prefix, visiting.suffix = (partial(_visit, _backbones[backbone.prefix_key], half) for half in ("prefix", "suffix"))
    return visiting


def _visit(backbone: Backbone, half: str, *given: Any) -> Tensor:
    try:
        return _on_gpu(backbone.prefix_key, dict(backbone.choice), half, *given)
    except gr.Error as refused:
        log.warning("ZeroGPU: %s The CPU computes instead.", refused.message)
        return getattr(backbone, half)(*given)


@GPU
def _on_gpu(key: str, choice: dict[str, Any], half: str, *given: Any) -> Tensor:
    gpu = device.use()
    if key not in _backbones:  # this process was forked before the backbone was loaded
        _backbones[key] = load_backbone(**choice)
    return getattr(_backbones[key].to(gpu), half)(*given)
