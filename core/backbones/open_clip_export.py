"""An adapter merged into its open_clip model, as a folder that open_clip loads with ``local-dir:``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.timm_model import TimmModel
from torch import Tensor, nn

from core.backbones.base import Backbone
from core.backbones.lora import Lora
from core.backbones.open_clip import OpenClipBackbone, open_clip_model
from core.common.errors import BackboneError
from core.common.files import whole
from core.common.tensor_files import write_tensors

CONFIG_FILE, WEIGHTS_FILE = "open_clip_config.json", "open_clip_model.safetensors"
_LINEAR = re.compile(r"(text|vision)\.blocks\.(\d+)\.(attn|mlp)\.(\w+)")


def check_folder(folder: Path) -> None:
    """Raise BackboneError unless the folder is new, empty, or holds an open_clip model, which is replaced."""
    if folder.exists() and not (folder / CONFIG_FILE).is_file() and (folder.is_file() or any(folder.iterdir())):
        raise BackboneError("CORE_EXPORT_TAKEN", folder=folder)


def write_merged(backbone: Backbone, lora: Lora, folder: Path) -> list[str]:
    """Write the model with a LoRA in its weights; returns the names of the files. Raises BackboneError: for the embedded
    backbone, and as ``load_open_clip`` and ``check_folder``."""
    if not isinstance(backbone, OpenClipBackbone):
        raise BackboneError("CORE_EXPORT_EMBEDDED")
    check_folder(folder)
    model, config = open_clip_model(backbone.choice["spec"], backbone.choice["pretrained"])
    with torch.no_grad():
        for name, factors in lora.factors.items():
            weight_of(model, name).add_(factors.delta)
    before = set(folder.iterdir()) if folder.exists() else set()
    write_tensors(folder / WEIGHTS_FILE, model.state_dict())
    theirs = getattr(backbone.tokenizer, "tokenizer", None)  # of Hugging Face
    if theirs is not None:
        theirs.save_pretrained(folder)
    content = {"model_cfg": config, "preprocess_cfg": open_clip.get_model_preprocess_cfg(model)}
    with whole(folder / CONFIG_FILE) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return sorted({path.name for path in set(folder.iterdir()) - before} | {CONFIG_FILE, WEIGHTS_FILE})


def weight_of(model: Any, name: str) -> Tensor:
    """The weight [out, in] of a linear of ``Backbone.linears`` in open_clip's own model, as a view."""
    text: Any = getattr(model, "text", model)
    if name == "text.projection":
        projection = text.text_projection
        return projection.weight if isinstance(projection, nn.Linear) else projection.T
    match = _LINEAR.fullmatch(name)
    assert match is not None
    tower: Any = text if match[1] == "text" else model.visual
    blocks: Any = tower.trunk.blocks if isinstance(tower, TimmModel) else tower.transformer.resblocks
    block = blocks[int(match[2])]
    if match[3] == "mlp":
        return block.mlp.get_submodule(match[4]).weight
    theirs = isinstance(block.attn, nn.MultiheadAttention)
    if match[4] == "out_proj":
        return block.attn.out_proj.weight if theirs else block.attn.proj.weight
    fused = block.attn.in_proj_weight if theirs else block.attn.qkv.weight
    return fused.chunk(3)["qkv".index(match[4][0])]
