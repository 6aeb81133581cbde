"""Small expert repositories for random open_clip models, as ``train`` writes them."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_models import frozen_layout, noise, tiny_clip, tiny_clip_config

from core.backbones import load_backbone
from core.backbones.description import embed_descriptions
from core.common.paths import GENERATOR_FILE
from core.experts.files import save_generator, save_repository
from core.sglora.generator import LoraGenerator
from core.sglora.repository import Expert, ExpertRepository
from core.sglora.subspace import Basis
from core.sglora.vae import ConditionalVAE, VaeConfig

EXPERTS = ("boats", "trains", "kites", "bridges", "gardens")


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
    layout, n = frozen_layout(backbone.layout), len(EXPERTS)
    basis = Basis.fit(0.1 * noise(n, layout.size, seed=seed))
    experts = tuple(Expert(name, f"photos of {name}", "scenes", "random", 20, 0, 1, {}, {}) for name in EXPERTS)
    embeddings = embed_descriptions(backbone, [e.description for e in experts])
    numbers = (basis, basis.decode(noise(n, n, seed=seed)), 0.01 * torch.ones(n, n), embeddings)
    out = folder / f"repository-{seed}"
    save_repository(ExpertRepository(backbone.fingerprint, layout, experts, *numbers, backbone=backbone.choice), out)
    vae = ConditionalVAE(VaeConfig(basis.dimensions)).eval()
    save_generator(LoraGenerator(vae, backbone.fingerprint, basis.digest, {}), out / GENERATOR_FILE)
    return out
