"""Random shared parts of the embedded backbone."""

from tiny_models import random_lora

from core.backbones.embedded import EmbeddedBackbone
from core.backbones.lora import Lora, LoraLayout
from core.backbones.lora_algebra import merge


def random_shared(backbone: EmbeddedBackbone, seed: int = 1, rank: int = 4, size: float = 0.1) -> Lora:
    """A random shared part. On the text head, its rank is two higher than on the vision head's blocks and last projection."""
    vision = [name for name in backbone.linears if name.startswith(("vision.blocks.", "vision.proj_out"))]
    photos = random_lora(LoraLayout.of(backbone.linears, vision, rank), seed, size)
    texts = [name for name in backbone.linears if name.startswith("text.")]
    return merge([photos, random_lora(LoraLayout.of(backbone.linears, texts, rank + 2), seed + 100, size)], [1.0, 1.0])
