"""Tasks x variants: the LoRAs of an experiment, each measured on the tasks' photos, which trained nothing.

SG-LoRA and its controls use the same experts and the same sentence (docs/design.md, section 5).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from core.backbones.lora import Lora
from core.experiments import statistics
from core.experiments.context import ExperimentContext
from core.experiments.held_tasks import HeldTask, captioned_domain_tasks, domain_tasks, scene_tasks
from core.experts.random_sentence import random_sentence
from core.sglora.engine import Adaptation, SGLora
from core.sglora.request import AdapterRequest
from core.training.corpus import Corpus

SPECIAL, SCENES = "special domains", "scenes"
CONTROLS = ("zero-shot", "one-lora", "merge")
SEEDS = (0, 1, 2)  # of the generator
Row = dict[str, Any]
Variant = tuple[Mapping[str, Any], Lora | None]  # what its row says, at least {"variant": …}; its LoRA, None: zero-shot
Measure = Callable[[Corpus, HeldTask, Lora | None], Mapping[str, float]]
Method = Callable[[SGLora, Adaptation], Lora | None]  # None: zero-shot


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


def known_tasks(corpus: Corpus) -> dict[str, list[HeldTask]]:
    """The tasks of ``known`` by group: their photos trained nothing, their topics did."""
    special = [*domain_tasks(corpus, whole=True), *captioned_domain_tasks(corpus, known=True)]
    return {SPECIAL: special, SCENES: [*scene_tasks(corpus)]}


def controls(engine: SGLora, adaptation: Adaptation, names: Sequence[str] = CONTROLS) -> list[Variant]:
    """The controls that use the same experts and sentence."""
    return [({"variant": name}, METHODS[name](engine, adaptation)) for name in names]


def methods(engine: SGLora, description: str) -> list[Variant]:
    """Every method with the same sentence; SEEDED ones with every seed."""
    adaptations = {seed: engine.adapt(AdapterRequest(description, seed=seed)) for seed in SEEDS}
    return [
        ({"variant": name, "seed": seed}, method(engine, adaptations[seed]))
        for name, method in METHODS.items()
        for seed in (SEEDS if name in SEEDED else SEEDS[:1])
    ]


def measured(
    context: ExperimentContext,
    experiment: str,
    tasks: Mapping[str, Sequence[HeldTask]],
    variants: Callable[[HeldTask], Iterable[Variant]],
    measure: Measure = lambda corpus, task, lora: statistics.both_ways(corpus.recalls(task.test, lora)),
) -> list[Row]:
    """A row for each task and variant. Equal LoRAs are measured once."""
    rows: list[Row] = []
    for group, listed in tasks.items():
        for task in listed:
            about = {"group": group, "task": task.name, "domain": task.group, "photos": len(task.test)}
            found: dict[str, Mapping[str, float]] = {}
            for variant, lora in variants(task):
                digest = "" if lora is None else lora.digest
                if digest not in found:
                    found[digest] = measure(context.corpus, task, lora)
                rows.append(about | dict(variant) | dict(found[digest]))
        context.log(f"{experiment}: {group}, {len(listed)} tasks")
    return rows
