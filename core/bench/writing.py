"""What does it take to write the 110,592 parameters of a LoRA for ViT-B/16: bytes, memory and milliseconds from a sentence?

Model, experts and generator are random: cost depends on their sizes alone, and no model hub is needed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.bench.clock import in_turn
from core.experiments import tables

if TYPE_CHECKING:
    from torch import Tensor

    from core.backbones.base import Backbone
    from core.bench.setting import Setting
    from core.experts import ExpertRepository
    from core.generator import LoraGenerator

MODEL = "ViT-B-16"
EXPERTS = 80  # as many as COCO has categories
SENTENCE = "photos of people surfing"
STEPS = ("encode", "route", "prior", "decode")


def run(setting: Setting, model: str = MODEL, experts: int = EXPERTS) -> dict[str, Any]:
    """Sizes on disk and in memory, and the time of each step.

    Args:
        model: a name of open_clip. experts: how many there are; the generator's basis has as many directions.
    """
    from core.backbones.open_clip import load_open_clip
    from core.sglora import SGLora

    backbone = load_open_clip(model)
    setting.log(f"{model}: {backbone.layout.size:,} parameters at rank {backbone.layout.rank}")
    repository = random_experts(backbone, experts)
    written = random_generator(backbone, repository)
    with tempfile.TemporaryDirectory(prefix="sg-lora-bench-") as folder:
        place = Path(folder)
        repository.save(place)
        written.save(place / "generator.safetensors")
        bytes_on_disk = {f.name: f.stat().st_size for f in sorted(place.iterdir())}
    engine = SGLora(backbone, repository, written)
    steps: list[Mapping[str, float]] = []
    times = in_turn({"adapt": lambda: steps.append(engine.adapt(SENTENCE).seconds)}, setting.rounds)
    basis, cvae = written.basis, written.cvae
    return {
        "model": model,
        "parameters": backbone.layout.size,
        "experts": experts,
        "latent": cvae.config.latent,
        "bytes on disk": bytes_on_disk,
        "bytes in memory": {
            "generator": _bytes(basis.origin, basis.components, basis.scale, *cvae.state_dict().values()),
            "experts": _bytes(repository.means, repository.stds, repository.embeddings, repository.origin),
        },
        # First layers that read theta and c, two vectors for c; a last layer that writes theta; two bytes a weight.
        "bytes without a basis": 2 * (3 + 2 + 2 + 1) * cvae.config.hidden * backbone.layout.size,
        "milliseconds": {
            "adapt": times["adapt"].best(),
            **{step: round(1000 * min(taken[step] for taken in steps[1:]), 3) for step in STEPS},
        },
    }


def random_experts(backbone: Backbone, count: int) -> ExpertRepository:
    """A repository of ``count`` experts whose numbers mean nothing."""
    import torch

    from core.experts import Expert, ExpertRepository

    noise = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return 0.02 * torch.randn(*shape, generator=noise)

    names = [f"expert {i}" for i in range(count)]
    return ExpertRepository(
        backbone.fingerprint,
        backbone.layout,
        tuple(Expert(name, f"a photo of {name}", "scenes", "noise", 0, 0, 1, {}, {}) for name in names),
        some(count, backbone.layout.size),
        some(count, backbone.layout.size).abs(),
        backbone.encode_sentence([f"a photo of {name}" for name in names]),
        some(backbone.layout.size),
    )


def random_generator(backbone: Backbone, repository: ExpertRepository) -> LoraGenerator:
    """A generator over the principal directions of these experts, as large as a trained one."""
    import torch

    from core.basis import Basis
    from core.cvae import ConditionalVAE, CvaeConfig
    from core.generator import LoraGenerator

    basis = Basis.fit(repository.means, repository.origin, len(repository))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        cvae = ConditionalVAE(CvaeConfig(basis.dimensions))
    return LoraGenerator(basis, cvae.eval().requires_grad_(False), backbone.fingerprint, {})


def findings(result: Mapping[str, Any]) -> list[str]:
    """Size and speed in words."""
    taken = result["milliseconds"]
    size, memory = (result[where] for where in ("bytes on disk", "bytes in memory"))
    return [
        f"From a sentence to {result['parameters']:,} parameters takes {taken['adapt']['wall']:.0f} ms, of which reading the "
        f"sentence takes {taken['encode']:.0f}.",
        f"The generator is a file of {size['generator.safetensors'] / 1e6:.1f} MB and takes {memory['generator'] / 1e6:.0f} MB "
        f"of memory; {result['experts']} experts are {size['experts.safetensors'] / 1e6:.0f} MB and take "
        f"{memory['experts'] / 1e6:.0f} MB. The same networks over the parameters themselves would be a file of "
        f"{result['bytes without a basis'] / 1e6:.0f} MB.",
    ]


def table(result: Mapping[str, Any]) -> str:
    """Milliseconds of each step."""
    taken = result["milliseconds"]
    rows = [[step, f"{taken[step]:.1f}"] for step in STEPS] + [["sentence to adapter", f"{taken['adapt']['wall']:.1f}"]]
    return tables.table(["step", "ms"], rows)


def _bytes(*tensors: Tensor) -> int:
    return sum(t.nbytes for t in tensors)
