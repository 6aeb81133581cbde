"""SG-LoRA and its controls, with the same experts and the same sentence (docs/design.md, section 5)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from core.backbones.lora import Lora
from core.experts.random_sentence import random_sentence
from core.sglora.engine import Adaptation, SGLora

Method = Callable[[SGLora, Adaptation], "Lora | None"]  # None: zero-shot


def mean(engine: SGLora, experts: Tensor) -> Lora:
    """The exact merge of experts with equal weights."""
    return engine.repository.merged(experts, torch.full((len(experts),), 1 / len(experts)))


def one_lora(engine: SGLora, adaptation: Adaptation) -> Lora:
    """One LoRA for everything: the full shared LoRA, or the mean of all experts if there is none."""
    repository = engine.repository
    if repository.shared is None:
        return mean(engine, torch.arange(len(repository)))
    share = float(repository.notes.get("recipe", {}).get("share", 1.0))
    return repository.shared.scaled(1 / share)


METHODS: Mapping[str, Method] = {
    "zero-shot": lambda engine, made: None,
    "merge": lambda engine, made: engine.repository.merged(made.routing.chosen, made.routing.weights),  # the paper's
    "equal-merge": lambda engine, made: mean(engine, made.routing.chosen),
    "mean-of-all": lambda engine, made: mean(engine, torch.arange(len(engine.repository))),
    "nearest": lambda engine, made: engine.repository.lora(int(made.routing.chosen[0])),
    "one-lora": one_lora,
    "random-sentence": lambda engine, made: random_sentence(engine, made.request).full,
    "sg-lora": lambda engine, made: made.full,  # as on the page
}
SEEDED = ("random-sentence", "sg-lora")  # draw a sample: measured with several seeds
