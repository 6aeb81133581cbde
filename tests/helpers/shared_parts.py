"""Random shared parts of the embedded backbone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from tiny_models import random_lora

from core.backbones.embedded import SHARED_FILE, EmbeddedBackbone, save_shared
from core.backbones.lora import Lora, LoraLayout
from core.backbones.lora_algebra import merge
from core.common.paths import GENERATOR_FILE, heads_path
from core.experts.files import save_repository
from core.sglora.engine import SGLora


def random_shared(backbone: EmbeddedBackbone, seed: int = 1, rank: int = 4, size: float = 0.1) -> Lora:
    """A random shared part. On the text head, its rank is two higher than on the vision head's blocks and last projection."""
    vision = [name for name in backbone.linears if name.startswith(("vision.blocks.", "vision.proj_out"))]
    photos = random_lora(LoraLayout.of(backbone.linears, vision, rank), seed, size)
    texts = [name for name in backbone.linears if name.startswith("text.")]
    return merge([photos, random_lora(LoraLayout.of(backbone.linears, texts, rank + 2), seed + 100, size)], [1.0, 1.0])


def with_shared_part(engine: SGLora, seed: int = 1) -> SGLora:
    """The engine with a random shared part, on top of which its experts' own parts apply."""
    assert isinstance(engine.backbone, EmbeddedBackbone)
    backbone = engine.backbone.with_shared(random_shared(engine.backbone, seed))
    repository = replace(engine.repository, fingerprint=backbone.fingerprint, shared=backbone.shared)
    generator = replace(engine.generator, fingerprint=backbone.fingerprint)
    return replace(engine, backbone=backbone, repository=repository, generator=generator)


def write_engine(engine: SGLora, folder: Path) -> list[str]:
    """Write the engine's files. Returns the command line options that load them."""
    shutil.copy(heads_path(), folder / "heads.safetensors")
    assert engine.backbone.shared is not None
    save_shared(engine.backbone.shared, folder / SHARED_FILE, {})
    save_repository(engine.repository, folder / "experts")
    engine.generator.save(folder / "experts" / GENERATOR_FILE)
    return ["--heads", str(folder / "heads.safetensors"), "--experts", str(folder / "experts")]
