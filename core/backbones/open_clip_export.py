"""An adapter merged into its open_clip model: a folder that open_clip loads with ``local-dir:``, or immich's text model."""

import json
import re
import warnings
from importlib.util import find_spec
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

CONFIG_FILE, WEIGHTS_FILE, ONNX_FILE = "open_clip_config.json", "open_clip_model.safetensors", "model.onnx"
_LINEAR = re.compile(r"(text|vision)\.blocks\.(\d+)\.(attn|mlp)\.(\w+)")


def write_merged(backbone: Backbone, lora: Lora, folder: Path) -> list[str]:
    """Write the model with a LoRA in its weights; returns the names of the files. Raises BackboneError: for the embedded
    backbone, and as ``load_open_clip``."""
    model, config, tokenizer = _merged(backbone, lora)
    write_tensors(folder / WEIGHTS_FILE, model.state_dict())
    files = [] if tokenizer is None else _saved(tokenizer, folder)
    content = {"model_cfg": config, "preprocess_cfg": open_clip.get_model_preprocess_cfg(model)}
    with whole(folder / CONFIG_FILE) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return sorted([CONFIG_FILE, WEIGHTS_FILE, *files])


def write_textual(backbone: Backbone, lora: Lora, folder: Path) -> list[str]:
    """Write the text model with a LoRA in its weights as immich reads it: from ``text``, token ids [1, context] int32, to the
    unit-length ``embedding`` [1, d]. Raises BackboneError: as ``write_merged``, when the LoRA changes photos, or a package is
    missing."""
    if backbone.layout.moves_photos:
        raise BackboneError("immich would have to index the photos again for it: make an adapter with --adapt texts.")
    model, _, tokenizer = _merged(backbone, lora)
    if missing := [name for name in ("onnx", "transformers") if find_spec(name) is None]:
        raise BackboneError(f"immich's format needs more packages: `pip install {' '.join(missing)}`.")
    tokens = backbone.text_prefix([""]).int()
    fast, folder = torch.backends.mha.get_fastpath_enabled(), folder / "textual"
    torch.backends.mha.set_fastpath_enabled(False)  # ONNX has no such operation
    try:
        with whole(folder / ONNX_FILE) as partial, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that tracing is deprecated: the other way needs more packages
            names: dict[str, Any] = {"input_names": ["text"], "output_names": ["embedding"]}
            torch.onnx.export(_UnitText(model), (tokens,), partial, dynamo=False, **names)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return sorted([ONNX_FILE, *_saved(tokenizer or _clip_tokenizer(), folder)])


class _UnitText(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, text: Tensor) -> Tensor:
        return self.model.encode_text(text, normalize=True)


def _merged(backbone: Backbone, lora: Lora) -> tuple[Any, dict[str, Any], Any]:
    """The model with a LoRA in its weights, its configuration, and Hugging Face's tokenizer; None: it has open_clip's own."""
    if not isinstance(backbone, OpenClipBackbone):
        raise BackboneError("The embedded backbone is no open_clip model: name the adapter's model with --backbone NAME.")
    model, config = open_clip_model(backbone.choice["spec"], backbone.choice["pretrained"])
    with torch.no_grad():
        for name, factors in lora.factors.items():
            weight_of(model, name).add_(factors.delta)
    return model.eval(), config, getattr(backbone.tokenizer, "tokenizer", None)


def _clip_tokenizer() -> Any:
    """open_clip's own tokenizer, as Hugging Face's."""
    from transformers import CLIPTokenizer  # a second

    own = open_clip.SimpleTokenizer()
    begin, end = (own.decoder[token] for token in own.all_special_ids[:2])
    parts: dict[str, Any] = {"vocab": own.encoder, "merges": list(own.bpe_ranks)}
    return CLIPTokenizer(**parts, bos_token=begin, eos_token=end, unk_token=end, pad_token=end)


def _saved(tokenizer: Any, folder: Path) -> list[str]:
    return [Path(file).name for file in tokenizer.save_pretrained(folder)]


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
