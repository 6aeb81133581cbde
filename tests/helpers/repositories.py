"""Small expert repositories for random open_clip models, as ``train`` writes them."""

import json
from dataclasses import replace
from pathlib import Path

from random_engines import random_engine
from safetensors.torch import save_file
from tiny_models import tiny_clip, tiny_clip_config

from core.backbones import load_backbone
from core.common.paths import GENERATOR_FILE
from core.experts.files import save_generator, save_repository


def make_model(folder: Path, seed: int) -> Path:
    """Write a model folder that ``local-dir:`` accepts."""
    folder.mkdir(parents=True)
    config = {"model_cfg": tiny_clip_config(), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(tiny_clip(seed).state_dict(), folder / "open_clip_model.safetensors")
    return folder


def make_repository(folder: Path, seed: int) -> Path:
    """Write random experts and an untrained generator. They adapt the last two blocks of the model with this seed."""
    backbone = load_backbone(f"local-dir:{make_model(folder / f'model-{seed}', seed)}", adapt_blocks=2)
    engine, out = random_engine(backbone, trained=False, seed=seed), folder / f"repository-{seed}"
    save_repository(replace(engine.repository, backbone=backbone.choice), out)
    save_generator(engine.generator, out / GENERATOR_FILE)
    return out
