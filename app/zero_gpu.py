"""A Space on ZeroGPU: both halves of a large image tower visit the GPU, for as long as they take.

``@spaces.GPU`` runs a function in a process that is forked for it: what goes in and comes out is pickled, and what the function
changes stays there. So only what changes nothing visits, ``prefix`` and ``suffix`` of a backbone, and all else (sentences,
mixing, search, own experts) stays on the CPU. So does the embedded backbone, which is small, and everything where the GPU is
refused, as when a visitor's quota is used up. https://huggingface.co/docs/hub/spaces-zerogpu
"""

from __future__ import annotations

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

try:  # a Space brings it along; it has to be imported before anything asks for CUDA
    from spaces import GPU  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError:

    def GPU(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return function


log = logging.getLogger(__name__)
HERE = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
_backbones: dict[str, Backbone] = {}  # what a forked process finds


def with_gpu(backbone: Backbone) -> Backbone:
    """The backbone itself, or on ZeroGPU a copy whose ``prefix`` and ``suffix`` visit the GPU."""
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
    there = device.use()
    if key not in _backbones:  # this process began before the backbone was loaded
        _backbones[key] = load_backbone(**choice)
    return getattr(_backbones[key].to(there), half)(*given)
