"""SG-LoRA and its controls, with the same experts and the same sentence (docs/design.md, section 5)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from core.backbones.lora import Lora
from core.experts.random_sentence import random_sentence
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


METHODS: Mapping[str, Method] = {
    "zero-shot": lambda engine, adaptation: None,
    "merge": lambda engine, adaptation: merge(engine, adaptation.routing.chosen, adaptation.routing.weights),  # the paper's
    "equal-merge": lambda engine, adaptation: merge(engine, adaptation.routing.chosen),
    "mean-of-all": lambda engine, adaptation: merge(engine, torch.arange(len(engine.repository))),
    "nearest": lambda engine, adaptation: engine.repository.lora(int(adaptation.routing.chosen[0])),
    "one-lora": one_lora,
    "random-sentence": lambda engine, adaptation: random_sentence(engine, adaptation.request).full,
    "sg-lora": lambda engine, adaptation: adaptation.full,  # as on the page
}
SEEDED = ("random-sentence", "sg-lora")  # draw a sample: measured with several seeds
