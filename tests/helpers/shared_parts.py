"""A shared part over both heads of the embedded backbone, with random weights."""

from __future__ import annotations

from dataclasses import replace

from tiny_models import random_lora

from core.backbones.embedded import EmbeddedBackbone
from core.backbones.lora import Lora, LoraLayout
from core.backbones.lora_algebra import merge
from core.sglora.engine import SGLora


def random_shared(backbone: EmbeddedBackbone, seed: int = 1, rank: int = 4, size: float = 0.1) -> Lora:
    """Of one rank on the vision head's blocks and last projection, and of two more on the text head."""
    vision = [name for name in backbone.linears if name.startswith(("vision.blocks.", "vision.proj_out"))]
    photos = random_lora(LoraLayout.of(backbone.linears, vision, rank), seed, size)
    texts = [name for name in backbone.linears if name.startswith("text.")]
    return merge([photos, random_lora(LoraLayout.of(backbone.linears, texts, rank + 2), seed + 100, size)], [1.0, 1.0])


def with_shared_part(engine: SGLora, seed: int = 1) -> SGLora:
    """The engine over the same heads with a random shared part, on which its experts' own parts are put."""
    assert isinstance(engine.backbone, EmbeddedBackbone)
    backbone = engine.backbone.with_shared(random_shared(engine.backbone, seed))
    repository = replace(engine.repository, fingerprint=backbone.fingerprint, shared=backbone.shared)
    return replace(engine, backbone=backbone, repository=repository)
