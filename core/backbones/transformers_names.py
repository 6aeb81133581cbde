"""Names of linears and models in transformers' ``CLIPModel``, so that exported adapters load into it with plain peft."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.backbones.spec import portable
from core.common.errors import AdapterError

OURS = re.compile(r"(text|vision)\.blocks\.(\d+)\.(.*)")
THEIRS = ("vision_model.", "text_model.", "text_projection.")  # how names in CLIPModel start
PARTS = {f"attn.{part}_proj": f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")}
PARTS |= {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
CLASS = {"base_model_class": "CLIPModel", "parent_library": "transformers"}

# Repositories with the same weights for transformers. LAION's repositories have both forms.
OPENAI = {
    "ViT-B-32": "openai/clip-vit-base-patch32",
    "ViT-B-16": "openai/clip-vit-base-patch16",
    "ViT-L-14": "openai/clip-vit-large-patch14",
    "ViT-L-14-336": "openai/clip-vit-large-patch14-336",
}


def transformers_name(name: str) -> str:
    """The linear's name in ``CLIPModel``. Raises AdapterError: when it has none."""
    if name == "text.projection":
        return "text_projection"
    match = OURS.fullmatch(name)
    if match is None or match[3] not in PARTS:
        raise AdapterError("CORE_NO_COUNTERPART", name=name)
    return f"{match[1]}_model.encoder.layers.{match[2]}.{PARTS[match[3]]}"


def hub_model(choice: Mapping[str, Any]) -> str:
    """The hub repository of the weights that arguments of ``load_backbone`` choose, or the model's name if unknown. Raises
    AdapterError: for the embedded backbone, and for towers of another kind than CLIP's."""
    spec, pretrained = str(choice["spec"]), choice.get("pretrained")
    if spec == "embedded":
        raise AdapterError("CORE_EMBEDDED_NO_CLIP")
    if pretrained == "openai":
        return OPENAI.get(spec.removesuffix("-quickgelu"), spec)
    import open_clip

    config = open_clip.get_model_config(spec) or {}
    vision, text = config.get("vision_cfg", {}), config.get("text_cfg", {})
    other = vision.get("timm_model_name") or vision.get("pool_type", "tok") != "tok" or vision.get("no_ln_pre")
    if choice.get("adapt") == "texts":
        other = other or text.get("pool_type", "argmax") != "argmax" or text.get("no_causal_mask")
    if other:
        raise AdapterError("CORE_NO_CLIP", spec=spec)
    repository = str(open_clip.get_pretrained_cfg(spec, pretrained).get("hf_hub", "") if pretrained else "").strip("/")
    return repository if repository.startswith("laion/") else str(portable(choice)["spec"])
