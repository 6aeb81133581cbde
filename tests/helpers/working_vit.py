"""A small CLIP that really finds photos, in open_clip's own classes, as a folder: 2.6 million parameters, photos of 80 pixels.

Its image tower learned to imitate the embedded backbone's embeddings of training photos, its text tower those of everyday
captions and labels. It knows no words of special domains. Weights are rounded to 8 bits, with one scale a row. The
vocabulary is open_clip's, of which the file has the tokens that occurred in training.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = Path(__file__).with_name("working_vit.safetensors")
VOCABULARY = 49408
CONFIG = {
    "embed_dim": 128,
    "vision_cfg": {"layers": 5, "width": 160, "head_width": 32, "patch_size": 16, "image_size": 80},
    "text_cfg": {"context_length": 24, "vocab_size": VOCABULARY, "width": 128, "heads": 4, "layers": 2},
}


def working_vit(folder: Path) -> str:
    """Write the model to a folder; returns its name for ``load_backbone``."""
    stored = load_file(WEIGHTS)
    scales = {name: stored.pop(f"{name}.scale").float() for name in list(stored) if f"{name}.scale" in stored}
    tokens, weights = stored.pop("tokens").long(), {name: tensor.float() for name, tensor in stored.items()}
    weights |= {name: (weights[name].flatten(1) * scale).view_as(weights[name]) for name, scale in scales.items()}
    known = weights["token_embedding.weight"]
    weights["token_embedding.weight"] = torch.zeros(VOCABULARY, known.shape[1]).index_copy(0, tokens, known)
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": CONFIG, "preprocess_cfg": {"resize_mode": "squash"}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(weights, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"
