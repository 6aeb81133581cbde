"""Names of models on the hub, and of linears in transformers' ``CLIPModel``, so that plain peft loads an adapter into it."""

import re
from collections.abc import Mapping
from typing import Any

from core.backbones.lora import Lora, LoraModule
from core.backbones.spec import EMBEDDED, HUB, portable
from core.common.errors import AdapterError

LIBRARY = "sg-lora-studio"  # this project: it loads the expert repositories, and has the embedded model
CLIP_MODEL = {"base_model_class": "CLIPModel", "parent_library": "transformers"}
# What open_clip's configuration of such a model may have. With any other entry, a model computes something else.
_CONFIG = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
_VISION = {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio", "patch_dropout"}
_TEXT = {"context_length", "vocab_size", "width", "heads", "layers"}
_LINEARS = {f"attn.{part}_proj": f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")}
_LINEARS |= {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
# OpenAI's own repositories. LAION's have the weights for both libraries.
_OPENAI = {"B-32": "base-patch32", "B-16": "base-patch16", "L-14": "large-patch14", "L-14-336": "large-patch14-336"}


def is_clip_model(spec: str) -> bool:
    """Whether a model of open_clip computes the same as ``CLIPModel``."""
    import open_clip  # takes seconds

    config = open_clip.get_model_config(spec) or {}
    vision, text = config.get("vision_cfg", {}), config.get("text_cfg", {})
    plain = config.keys() <= _CONFIG and vision.keys() <= _VISION and text.keys() <= _TEXT
    return plain and isinstance(vision.get("layers"), int)  # a ResNet has a list


def hub_model(choice: Mapping[str, Any]) -> str | None:
    """The repository of a backbone's weights, for model cards; None: unknown. ``choice``: arguments of ``load_backbone``."""
    spec, pretrained = str(choice["spec"]), choice.get("pretrained")
    if spec == EMBEDDED:
        return LIBRARY
    if spec.startswith(HUB):
        return spec.removeprefix(HUB)
    import open_clip

    repository = open_clip.get_pretrained_cfg(spec, pretrained).get("hf_hub", "") if pretrained else ""
    return "/".join(repository.split("/")[:2]) or None  # without a file


def clip_model(choice: Mapping[str, Any]) -> str:
    """The repository of a backbone's weights for transformers, or the model's name if it is unknown. Raises AdapterError: when
    the model is no ``CLIPModel``."""
    import open_clip

    spec = str(portable(choice)["spec"])
    if not is_clip_model(choice["spec"]):
        fit = ", ".join(name for name in open_clip.list_models() if is_clip_model(name))
        raise AdapterError(f"{spec} is no CLIPModel of transformers. These are, with any weights: {fit}.")
    if choice.get("pretrained") == "openai":
        return f"openai/clip-vit-{_OPENAI[spec.removeprefix('ViT-').removesuffix('-quickgelu')]}"
    repository = hub_model(choice) or ""
    return repository if repository.startswith("laion/") else spec


def renamed(lora: Lora) -> Lora:
    """The same LoRA with the names of ``CLIPModel``."""
    modules = [LoraModule(_name(m.name), m.in_features, m.out_features) for m in lora.modules]
    return Lora(tuple(modules), {_name(name): factors for name, factors in lora.factors.items()})


def _name(ours: str) -> str:
    if ours == "text.projection":
        return "text_projection"
    match = re.fullmatch(r"(text|vision)\.blocks\.(\d+)\.(.+)", ours)
    assert match is not None
    return f"{match[1]}_model.encoder.layers.{match[2]}.{_LINEARS[match[3]]}"
