"""A small model with random weights, under its own name, for each family of open_clip models that the app supports.

All switches of a family's configuration (pooling, norms, biases, activation, masks) are those of the original. The sizes are
smaller. The tokenizer is open_clip's own, because the other ones come from a hub.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import open_clip
import timm
from safetensors.torch import save_file
from timm.models import register_model
from tiny_models import shaken
from torch import nn

CONTEXT = 16
END = 49407  # the end token of open_clip's own tokenizer
SMALL_TEXT = {"context_length": CONTEXT, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3}
SMALL_VISION = {"layers": 2, "width": 64, "head_width": 16, "patch_size": 16, "image_size": 48, "mlp_ratio": 2}
SMALL_TIMM = {"depth": 2, "embed_dim": 64, "num_heads": 4, "patch_size": 16, "img_size": 48}
# The stem of MobileCLIP's B model has a fixed width.
MOBILE = {"depth": 2, "img_size": 48}

FAMILIES = {
    "CLIP by OpenAI": "ViT-B-16-quickgelu",
    "CLIP by LAION and DataComp": "ViT-B-16",
    "CLIPA": "ViT-L-14-CLIPA",
    "MetaCLIP 2": "ViT-L-14-worldwide",
    "SigLIP": "ViT-B-16-SigLIP",
    "SigLIP 2": "ViT-B-16-SigLIP2",
    "SigLIP 2, tanh": "ViT-SO400M-16-SigLIP2-256",
    "MobileCLIP 2, B": "MobileCLIP2-B",
    "MobileCLIP 2, L": "MobileCLIP2-L-14",
}


@dataclass(frozen=True)
class SmallModel:
    """A small model: its name in open_clip, its checkpoint file, and open_clip's own module."""

    name: str
    weights: Path
    original: nn.Module


def small_model(name: str, folder: Path) -> SmallModel:
    """A small version of an open_clip model."""
    config = open_clip.get_model_config(name)
    vision, text = config["vision_cfg"], config["text_cfg"]
    if timm_name := vision.get("timm_model_name"):
        vision.update(timm_model_name=_small_timm(timm_name), image_size=48)
    else:
        vision.update(SMALL_VISION)
    config["embed_dim"] = 768 if "mci" in str(timm_name) else 64 if vision.get("timm_proj") == "none" else 32
    text.update(SMALL_TEXT)
    text["eos_id"] = END
    text.pop("hf_tokenizer_name", None), text.pop("tokenizer_kwargs", None)
    small = f"small-{name}".replace("SigLIP", "Sig")  # for a name with "SigLIP", open_clip downloads a tokenizer
    (folder / f"{small}.json").write_text(json.dumps(config), encoding="utf-8")
    open_clip.add_model_config(folder / f"{small}.json")
    original = shaken(lambda: open_clip.create_model(small, pretrained_image=False))
    save_file(original.state_dict(), folder / f"{small}.safetensors")
    return SmallModel(small, folder / f"{small}.safetensors", original)


def _small_timm(name: str) -> str:
    """Register a smaller version of a timm model, with all its switches. Returns its name."""
    whole = timm.model_entrypoint(name)

    def small(pretrained: bool = False, **kwargs: object) -> nn.Module:
        return whole(pretrained=pretrained, **{**(MOBILE if "mci" in name else SMALL_TIMM), **kwargs})

    small.__name__, small.__module__ = f"{name}_small", whole.__module__
    if not timm.is_model(small.__name__):
        register_model(small)
    return small.__name__
