"""The controls beside SG-LoRA: what else one could do with the same experts and the same sentence (DESIGN 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from core.backbones.lora import Factors, Lora
from core.backbones.lora_algebra import merge
from core.sglora.confidence import Confidence
from core.sglora.generator import LoraGenerator
from core.sglora.prior import SemanticPrior
from core.sglora.repository import ExpertRepository
from core.sglora.router import Routing

RIDGE = 1.0
DENSITY = 0.5


@dataclass(frozen=True)
class Setting:
    """What a method may look at: seen experts, the generator trained on them, a routed description and a seed."""

    repository: ExpertRepository
    generator: LoraGenerator
    routing: Routing
    seed: int

    @property
    def confidence(self) -> Confidence | None:
        """What the repository's confidence says of the description."""
        return self.repository.judge(self.routing)

    @property
    def strength(self) -> float:
        """How much of an adapter the confidence lets through; all of it where there is none."""
        return self.confidence.strength if self.confidence else 1.0

    @property
    def prior(self) -> SemanticPrior:
        """The semantic prior of the routed experts."""
        return self.repository.prior(self.routing)

    def loras(self) -> list[Lora]:
        return [self.repository.lora(i) for i in self.routing.chosen.tolist()]


Method = Callable[[Setting], "Lora | None"]


def zero_shot(s: Setting) -> None:
    """No adapter."""
    return None


def mean_of_all(s: Setting) -> Lora:
    """Exact delta-W mean of all experts."""
    n = len(s.repository)
    return merge([s.repository.lora(i) for i in range(n)], [1 / n] * n)


def nearest(s: Setting) -> Lora:
    """The closest expert alone."""
    return s.repository.lora(int(s.routing.chosen[0]))


def equal_merge(s: Setting) -> Lora:
    """Top-k, equal weights, exact delta-W sum."""
    return merge(s.loras(), [1 / len(s.routing.chosen)] * len(s.routing.chosen))


def softmax_merge(s: Setting) -> Lora:
    """Top-k, softmax weights, exact delta-W sum: the paper's control."""
    return s.repository.merged(s.routing)


def rescaled_merge(s: Setting) -> Lora:
    """``softmax_merge`` scaled, linear by linear, to the norm that its experts have on (weighted) average."""
    merged, experts, weights = softmax_merge(s), s.loras(), s.routing.weights.tolist()
    factors = {}
    for m in merged.modules:
        typical = sum(w * float(e.factors[m.name].delta.norm()) for e, w in zip(experts, weights, strict=True))
        own = merged.factors[m.name]
        factors[m.name] = Factors(own.a, own.b * (typical / max(float(own.delta.norm()), 1e-12)))
    return Lora(merged.modules, factors)


def _dense(modules: Lora, deltas: Mapping[str, Tensor]) -> Lora:
    """Full-rank weight changes in LoRA form: A is the identity."""
    factors = {m.name: Factors(torch.eye(m.in_features), deltas[m.name]) for m in modules.modules}
    return Lora(modules.modules, factors)


def ties_merge(s: Setting) -> Lora:
    """TIES (arXiv 2306.01708) as peft implements it, on the weight changes of the top k."""
    from peft.utils.merge_utils import ties

    experts, weights = s.loras(), s.routing.weights
    deltas = {
        m.name: ties([e.factors[m.name].delta for e in experts], weights * len(experts), DENSITY, "total")
        for m in experts[0].modules
    }
    return _dense(experts[0], deltas)


def dare_merge(s: Setting) -> Lora:
    """DARE (arXiv 2311.03099) with a linear sum as peft implements it, on the weight changes of the top k."""
    from peft.utils.merge_utils import dare_linear

    experts, weights = s.loras(), s.routing.weights
    with torch.random.fork_rng():
        torch.manual_seed(s.seed)
        deltas = {m.name: dare_linear([e.factors[m.name].delta for e in experts], weights, DENSITY) for m in experts[0].modules}
    return _dense(experts[0], deltas)


def ridge(s: Setting) -> Lora:
    """Ridge regression from sentence embedding to LoRA vector: a deterministic generator."""
    x, y = s.repository.embeddings, s.repository.means
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    gram = centred @ centred.T + RIDGE * torch.eye(len(x))
    weights = torch.linalg.solve(gram, centred @ (s.routing.embedding - mean_x))
    return Lora.from_vector(s.repository.layout, mean_y + weights @ (y - mean_y))


def shared_start(s: Setting) -> Lora:
    """The experts' shared start: one LoRA trained on all seen everyday scenes."""
    return Lora.from_vector(s.repository.layout, s.repository.origin)


def softmax_by_confidence(s: Setting) -> Lora:
    """``softmax_merge`` as strong as the confidence allows: what the confidence does without a generator."""
    return softmax_merge(s).scaled(s.strength)


def full_strength(s: Setting) -> Lora:
    """SG-LoRA: z ~ p(z | c), decoded, applied in full."""
    prior = s.prior
    return s.generator.lora(s.generator.sample(prior, s.seed)[0], prior, softmax_merge(s), s.repository.layout)


def as_decoded(s: Setting) -> Lora:
    """The decoded factors as they are, as in the paper: no exact mixture, no shared part."""
    return Lora.from_vector(s.repository.layout, s.generator.sample(s.prior, s.seed)[0])


def without_decoder(s: Setting) -> Lora:
    """SG-LoRA where the decoder adds nothing: the exact merge, and the shared part. What the generator itself is worth is the
    difference to this."""
    prior = s.prior
    centre = s.generator.centre(prior)
    return s.generator.lora(centre, prior, softmax_merge(s), s.repository.layout)


def sg_lora(s: Setting) -> Lora:
    """SG-LoRA as strong as the confidence allows: what a visitor gets."""
    return full_strength(s).scaled(s.strength)


METHODS: Mapping[str, Method] = {
    "zero-shot": zero_shot,
    "mean of all experts": mean_of_all,
    "nearest expert": nearest,
    "top-k, equal": equal_merge,
    "top-k, softmax": softmax_merge,
    "top-k, softmax, rescaled": rescaled_merge,
    "TIES": ties_merge,
    "DARE": dare_merge,
    "ridge": ridge,
    "shared start": shared_start,
    "top-k, softmax, by confidence": softmax_by_confidence,
    "sg-lora as decoded, full strength": as_decoded,
    "sg-lora without its decoder, full strength": without_decoder,
    "sg-lora, full strength": full_strength,
    "sg-lora": sg_lora,
}
# What depends on the seed: of the generator's training and sample, or of DARE's dropped weights.
SEEDED = ("DARE", "sg-lora as decoded, full strength", "sg-lora", "sg-lora, full strength")
