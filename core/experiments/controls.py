"""SG-LoRA and its controls: what else one could do with the same experts and the same sentence (docs/design.md, section 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from core.backbones.lora import Lora
from core.sglora.engine import SGLora
from core.sglora.router import Routing

RIDGE = 1.0
# Sentences that describe no photos.
RANDOM = (
    "quarterly financial report",
    "the sound of a violin",
    "a mathematical proof",
    "tax law in the nineteenth century",
)


@dataclass(frozen=True)
class Setting:
    """What a method may look at.

    Attributes:
        engine: experts and generator. routing: of the description. seed: of the sample.
        strength: scales every adapter alike; None follows the confidence.
    """

    engine: SGLora
    routing: Routing
    seed: int = 0
    strength: float | None = None

    @property
    def scale(self) -> float:
        """How much of an adapter is applied."""
        return self.engine.strength(self.routing, self.strength)[0]

    @property
    def own(self) -> list[Lora]:
        """The routed experts' own parts."""
        return [self.engine.repository.own(i) for i in self.routing.chosen.tolist()]


Method = Callable[[Setting], "Lora | None"]


def zero_shot(s: Setting) -> None:
    """No adapter."""
    return None


def merge(s: Setting) -> Lora:
    """Top-k experts with softmax weights, exact sum of weight changes: the paper's control."""
    return s.engine.merged(s.routing).scaled(s.scale)


def equal_merge(s: Setting) -> Lora:
    """Top-k experts with equal weights, exact."""
    k = len(s.routing.chosen)
    return s.engine.repository.with_shared(s.own, [1 / k] * k).scaled(s.scale)


def mean_of_all(s: Setting) -> Lora:
    """Mean of all experts, exact."""
    repository = s.engine.repository
    n = len(repository)
    return repository.with_shared([repository.own(i) for i in range(n)], [1 / n] * n).scaled(s.scale)


def nearest(s: Setting) -> Lora:
    """The closest expert alone."""
    return s.engine.repository.lora(int(s.routing.chosen[0])).scaled(s.scale)


def ridge(s: Setting) -> Lora:
    """Ridge regression from sentence embedding to own part: a deterministic generator."""
    repository = s.engine.repository
    x, y = repository.embeddings, repository.means
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    gram = centred @ centred.T + RIDGE * torch.eye(len(x))
    weights = torch.linalg.solve(gram, centred @ (s.routing.embedding - mean_x))
    own = Lora.from_vector(repository.layout, mean_y + weights @ (y - mean_y))
    return repository.with_shared([own], [1.0]).scaled(s.scale)


def one_lora(s: Setting) -> Lora:
    """One LoRA for everything: the shared part in full. Without one, as ``mean_of_all``."""
    repository = s.engine.repository
    if repository.shared is None:
        return mean_of_all(s)
    share = float(repository.notes.get("recipe", {}).get("share", 1.0))
    return repository.shared.scaled(s.scale / share)


def random_sentence(s: Setting) -> Lora:
    """SG-LoRA for a sentence that has nothing to do with the photos, in full strength."""
    routing = s.engine.route(RANDOM[(len(s.routing.description) + s.seed) % len(RANDOM)], len(s.routing.chosen), s.routing.tau)
    return _generated(s.engine, routing, s.seed).scaled(s.scale)


def sg_lora(s: Setting) -> Lora:
    """SG-LoRA as a visitor gets it."""
    strength, own = s.engine.strength(s.routing, s.strength)
    return _generated(s.engine, s.routing, s.seed, own).scaled(strength)


def _generated(engine: SGLora, routing: Routing, seed: int, own: float = 1.0) -> Lora:
    return engine.generator.write(engine.repository, routing, engine.prior(routing), seed, own).lora


METHODS: Mapping[str, Method] = {
    "zero-shot": zero_shot,
    "merge": merge,
    "equal-merge": equal_merge,
    "mean-of-all": mean_of_all,
    "nearest": nearest,
    "ridge": ridge,
    "one-lora": one_lora,
    "random-sentence": random_sentence,
    "sg-lora": sg_lora,
}
# What a sample changes: measured with several seeds.
SEEDED = ("random-sentence", "sg-lora")
