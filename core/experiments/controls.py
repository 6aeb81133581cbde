"""SG-LoRA and its controls, with the same experts and the same sentence (docs/design.md, section 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from core.backbones.lora import Lora
from core.sglora.engine import Adaptation, SGLora

Method = Callable[[SGLora, Adaptation], "Lora | None"]  # None: zero-shot


def merge(engine: SGLora, experts: Tensor, weights: Tensor | None = None) -> Lora:
    """The exact merge of experts, with equal weights by default."""
    weights = torch.full((len(experts),), 1 / len(experts)) if weights is None else weights
    return engine.repository.merged(experts, weights)


def one_lora(engine: SGLora, adaptation: Adaptation) -> Lora:
    """One LoRA for everything: the full shared LoRA, or the mean of all experts if there is none."""
    repository = engine.repository
    if repository.shared is None:
        return merge(engine, torch.arange(len(repository)))
    share = float(repository.notes.get("recipe", {}).get("share", 1.0))
    return repository.shared.scaled(1 / share)


def random_sentence(engine: SGLora, adaptation: Adaptation) -> Lora:
    """SG-LoRA for a sentence unrelated to the photos. The expert LoRA is applied even if no expert fits."""
    other = engine.adapt(adaptation.request.with_random_sentence())
    return engine.repository.with_shared(other.own)


METHODS: Mapping[str, Method] = {
    "zero-shot": lambda engine, adaptation: None,
    "merge": lambda engine, adaptation: merge(engine, adaptation.routing.chosen, adaptation.routing.weights),  # the paper's
    "equal-merge": lambda engine, adaptation: merge(engine, adaptation.routing.chosen),
    "mean-of-all": lambda engine, adaptation: merge(engine, torch.arange(len(engine.repository))),
    "nearest": lambda engine, adaptation: engine.repository.lora(int(adaptation.routing.chosen[0])),
    "one-lora": one_lora,
    "random-sentence": random_sentence,
    "sg-lora": lambda engine, adaptation: adaptation.full,  # as on the page
}
SEEDED = ("random-sentence", "sg-lora")  # draw a sample: measured with several seeds
