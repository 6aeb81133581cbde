"""SG-LoRA and its controls, with the same experts and the same sentence (docs/design.md, section 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from core.backbones.lora import Lora
from core.sglora.engine import Adaptation, SGLora

RIDGE = 1.0

Method = Callable[[SGLora, Adaptation], "Lora | None"]  # None: zero-shot


def mean(engine: SGLora, experts: Sequence[int]) -> Lora:
    """The exact merge of experts with equal weights."""
    own = [engine.repository.own(i) for i in experts]
    return engine.repository.with_shared(own, [1 / len(own)] * len(own))


def ridge(engine: SGLora, adaptation: Adaptation) -> Lora:
    """Ridge regression from sentence embeddings to expert LoRAs: a deterministic generator."""
    repository = engine.repository
    x, y = repository.embeddings, repository.means
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    gram = centred @ centred.T + RIDGE * torch.eye(len(x))
    weights = torch.linalg.solve(gram, centred @ (adaptation.routing.embedding - mean_x))
    own = Lora.from_vector(repository.layout, mean_y + weights @ (y - mean_y))
    return repository.with_shared([own], [1.0])


def one_lora(engine: SGLora, adaptation: Adaptation) -> Lora:
    """One LoRA for everything: the full shared LoRA, or the mean of all experts if there is none."""
    repository = engine.repository
    if repository.shared is None:
        return mean(engine, range(len(repository)))
    share = float(repository.notes.get("recipe", {}).get("share", 1.0))
    return repository.shared.scaled(1 / share)


def random_sentence(engine: SGLora, adaptation: Adaptation) -> Lora:
    """SG-LoRA for a sentence unrelated to the photos. The expert LoRA is applied even if no expert fits."""
    other = engine.adapt(adaptation.request.with_random_sentence())
    return engine.repository.with_shared([other.own], [1.0])


METHODS: Mapping[str, Method] = {
    "zero-shot": lambda engine, adaptation: None,
    "merge": lambda engine, adaptation: engine.repository.merged(adaptation.routing),  # the paper's control
    "equal-merge": lambda engine, adaptation: mean(engine, adaptation.routing.chosen.tolist()),
    "mean-of-all": lambda engine, adaptation: mean(engine, range(len(engine.repository))),
    "nearest": lambda engine, adaptation: engine.repository.lora(int(adaptation.routing.chosen[0])),
    "ridge": ridge,
    "one-lora": one_lora,
    "random-sentence": random_sentence,
    "sg-lora": lambda engine, adaptation: adaptation.full,  # as on the page
}
SEEDED = ("random-sentence", "sg-lora")  # draw a sample: measured with several seeds
