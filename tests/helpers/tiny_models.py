"""Small models and LoRAs with random weights, for tests that need real code but not real quality."""

from collections.abc import Callable

import open_clip
import torch
from torch import Tensor, nn

from core.backbones.lora import Lora, LoraLayout
from core.backbones.open_clip import OpenClipBackbone
from core.backbones.spec import Side

CONTEXT = 16


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_lora(layout: LoraLayout, seed: int, size: float = 0.3) -> Lora:
    """A LoRA with both factors far from zero. A test then notices when it is applied twice, by half or not at all."""
    return Lora.from_vector(layout, size * noise(layout.size, seed=seed))


def frozen_layout(layout: LoraLayout, seed: int = 0) -> LoraLayout:
    """The layout with a random frozen A: orthonormal rows, as of principal directions."""
    widths = {m.name: m.in_features for m in layout.modules}
    return layout.frozen({n: torch.linalg.qr(noise(w, layout.rank, seed=seed + w)).Q.T for n, w in widths.items()})


def tiny_clip_config(**vision: object) -> dict:
    """Three blocks of width 64 over nine patches. The vocabulary has the size that open_clip's tokenizer needs."""
    image = {"layers": 3, "width": 64, "head_width": 16, "patch_size": 16, "image_size": 48, **vision}
    text = {"context_length": CONTEXT, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    return {"embed_dim": 32, "vision_cfg": image, "text_cfg": text}


def shaken(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A frozen model with random weights, and noise added to all parameters: no bias is zero and no norm is the identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make().eval().requires_grad_(False)
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def tiny_clip(seed: int = 0, quick_gelu: bool = False, **vision: object) -> nn.Module:
    """A small open_clip model."""
    return shaken(lambda: open_clip.CLIP(**tiny_clip_config(**vision), quick_gelu=quick_gelu), seed)


def tiny_backbone(
    seed: int = 0, adapt_blocks: int | None = None, quick_gelu: bool = False, adapt: Side = "photos", **vision: object
) -> OpenClipBackbone:
    tokenizer = open_clip.SimpleTokenizer(context_length=CONTEXT)
    return OpenClipBackbone("tiny", tiny_clip(seed, quick_gelu, **vision), tokenizer, adapt_blocks, adapt=adapt)
