"""What does it take to write the 110,592 parameters of a LoRA for ViT-B/16: bytes, memory and milliseconds from a sentence?

Model, experts and generator are random: cost depends on their sizes alone, and no model hub is needed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.common import markdown
from core.experiments.bench.timing import in_turn

if TYPE_CHECKING:
    from torch import Tensor

    from core.backbones.base import Backbone
    from core.experiments.bench.context import BenchmarkContext
    from core.sglora.generator import LoraGenerator
    from core.sglora.repository import ExpertRepository

MODEL = "ViT-B-16"
EXPERTS = 80  # as many as COCO has categories
SENTENCE = "photos of people surfing"
STEPS = ("encode", "route", "prior", "decode")
ADAPT, TEXT, PLAIN = "sentence to adapter", "text", "text, plain open_clip"


def run(context: BenchmarkContext, model: str = MODEL, experts: int = EXPERTS) -> dict[str, Any]:
    """Sizes on disk and in memory, and the time of each step.

    Args:
        model: a name of open_clip. experts: how many there are; the generator's basis has as many directions.
    """
    import open_clip
    import torch

    from core.backbones.open_clip import OpenClipBackbone
    from core.sglora.engine import SGLora

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain: Any = open_clip.create_model(model).float().eval().requires_grad_(False)
    tokenizer = open_clip.get_tokenizer(model)
    backbone = OpenClipBackbone(model, plain, tokenizer)
    context.log(f"{model}: {backbone.layout.size:,} parameters at rank {backbone.layout.rank}")
    repository = random_experts(backbone, experts)
    written = random_generator(backbone, repository)
    from core.experts.files import save_repository

    with tempfile.TemporaryDirectory(prefix="sg-lora-bench-") as folder:
        place = Path(folder)
        save_repository(repository, place)
        written.save(place / "generator.safetensors")
        bytes_on_disk = {f.name: f.stat().st_size for f in sorted(place.iterdir())}
    engine = SGLora(backbone, repository, written)
    steps: list[Mapping[str, float]] = []

    @torch.no_grad()
    def whole_text() -> Tensor:
        return plain.encode_text(tokenizer([SENTENCE]), normalize=True)  # the text tower stays in the model

    def text() -> Tensor:
        return backbone.encode_sentence([SENTENCE])

    variants = {ADAPT: lambda: steps.append(engine.adapt(SENTENCE).seconds), TEXT: text, PLAIN: whole_text}
    times = in_turn(variants, context.rounds)
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
            **{name: {"best": taken.best(), "median": taken.median()} for name, taken in times.items()},
            **{step: round(1000 * min(taken[step] for taken in steps[1:]), 3) for step in STEPS},
        },
        "text over plain open_clip": times[TEXT].over(times[PLAIN]),
        "largest difference of an embedding": float((text() - whole_text()).abs().max()),
    }


def random_experts(backbone: Backbone, count: int) -> ExpertRepository:
    """A repository of ``count`` experts whose numbers mean nothing."""
    import torch

    from core.sglora.repository import Expert, ExpertRepository

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

    from core.sglora.generator import LoraGenerator
    from core.sglora.subspace import Basis
    from core.sglora.vae import ConditionalVAE, CvaeConfig

    basis = Basis.fit(repository.means, repository.origin, len(repository))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        cvae = ConditionalVAE(CvaeConfig(basis.dimensions))
    return LoraGenerator(basis, cvae.eval().requires_grad_(False), backbone.fingerprint, {})


def findings(result: Mapping[str, Any]) -> list[str]:
    """Size and speed in words."""
    taken, text = result["milliseconds"], result["text over plain open_clip"]
    size, memory = (result[where] for where in ("bytes on disk", "bytes in memory"))
    return [
        f"From a sentence to {result['parameters']:,} parameters takes {taken[ADAPT]['best']['wall']:.0f} ms "
        f"({taken[ADAPT]['median']['wall']:.0f} in the median), of which reading the sentence takes {taken['encode']:.0f}.",
        f"The text tower stops at the end of the sentence: {text['cpu']:.2f} of the processor time of open_clip's own forward, "
        f"and no number differs by more than {result['largest difference of an embedding']:.0e}.",
        f"The generator is a file of {size['generator.safetensors'] / 1e6:.1f} MB and takes {memory['generator'] / 1e6:.0f} MB "
        f"of memory; {result['experts']} experts are {size['experts.safetensors'] / 1e6:.0f} MB and take "
        f"{memory['experts'] / 1e6:.0f} MB. The same networks over the parameters themselves would be a file of "
        f"{result['bytes without a basis'] / 1e6:.0f} MB.",
    ]


def table(result: Mapping[str, Any]) -> str:
    """Milliseconds of each step."""
    taken = result["milliseconds"]
    rows = [[step, f"{taken[step]:.1f}", ""] for step in STEPS]
    rows += [[name, *(f"{taken[name][which]['wall']:.1f}" for which in ("best", "median"))] for name in (ADAPT, TEXT, PLAIN)]
    return markdown.table(["step", "ms", "median"], rows)


def _bytes(*tensors: Tensor) -> int:
    return sum(t.nbytes for t in tensors)
