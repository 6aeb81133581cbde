"""Tasks x variants: the LoRAs of an experiment, each measured on the tasks' photos, which trained nothing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from core.backbones.lora import Lora
from core.experiments import statistics
from core.experiments.context import ExperimentContext
from core.experiments.controls import METHODS, SEEDED
from core.experiments.held_tasks import HeldTask, captioned_domain_tasks, domain_tasks, scene_tasks
from core.sglora.engine import Adaptation, SGLora
from core.sglora.request import AdapterRequest
from core.training.corpus import Corpus

SPECIAL, SCENES = "special domains", "scenes"
CONTROLS = ("zero-shot", "one-lora", "merge")
SEEDS = (0, 1, 2)  # of the generator
Row = dict[str, Any]
Variant = tuple[Mapping[str, Any], Lora | None]  # what its row says, at least {"variant": …}; its LoRA, None: zero-shot
Measure = Callable[[Corpus, HeldTask, Lora | None], Mapping[str, float]]


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
