"""What does a generated adapter forget? R@1 of class names, on photos that trained no adapter."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from core.common import markdown
from core.common.errors import DataError
from core.experiments import runner, statistics
from core.experiments.context import ExperimentContext
from core.experiments.held_tasks import HeldTask, domain_tasks, scene_tasks
from core.sglora.repository import CLASS_NAMES
from core.sglora.request import AdapterRequest
from core.training.forgetting import forgetting, named_sets

OURS = "sg-lora"
SHOWN = ("one-lora", "merge", OURS)
EVERY = 3  # every third scene's description is used


def run(context: ExperimentContext) -> dict[str, Any]:
    """Points of R@1 that each set of class names loses, by description and method. Raises DataError: when the data has no
    photos of everyday objects to measure, or no topic to adapt to."""
    corpus, engine = context.corpus, context.engine
    sets, tasks = named_sets(corpus), [*list(scene_tasks(corpus))[::EVERY], *domain_tasks(corpus, whole=True)]
    tasks = [replace(task, name=task.description) for task in tasks]  # a scene may have the name of a domain
    if CLASS_NAMES not in {each.name for each in sets} or not tasks:
        raise DataError(f"{context.data} holds too few test photos of everyday objects, or of topics that experts know.")

    def variants(task: HeldTask) -> Iterable[runner.Variant]:
        return runner.controls(engine, engine.adapt(AdapterRequest(task.description)), SHOWN)

    rows = runner.measured(context, "forgetting", {"descriptions": tasks}, variants, lambda c, _, lora: forgetting(c, lora))
    return {
        "sets": {each.name: {"photos": len(each.rows), "classes": len(each.names)} for each in sets},
        "zero-shot": {each.name: round(each.share(corpus), 2) for each in sets},
        "own": {row["domain"]: row[row["domain"]] for row in rows if row["variant"] == OURS and row["domain"] in row},
        "rows": rows,
    }


def average(result: Mapping[str, Any], method: str, name: str) -> list[float]:
    """Mean points lost over descriptions, with its interval."""
    return statistics.interval(list(statistics.by_task(result["rows"], method, name).values()))


def decides(result: Mapping[str, Any]) -> statistics.Interval:
    """Zero-shot minus SG-LoRA."""
    return average(result, OURS, CLASS_NAMES)


def findings(result: Mapping[str, Any]) -> Iterator[str]:
    one, merge, ours = (markdown.difference(average(result, method, CLASS_NAMES)) for method in SHOWN)
    yield (
        f"On average over {len({row['task'] for row in result['rows']})} descriptions, class names of everyday objects lose "
        f"{ours} of {result['zero-shot'][CLASS_NAMES]:.1f} points of R@1. With the merge of the same experts "
        f"they lose {merge}, with one LoRA {one}."
    )
    if own := result["own"]:
        worst = max(own, key=lambda n: own[n])
        loses = f"{worst} loses most, {own[worst]:.1f} points" if own[worst] > 0 else "none loses class names of its own"
        yield f"Of {len(own)} special domains under their own description, {loses}."


def table(result: Mapping[str, Any]) -> str:
    rows = []
    for name, about in result["sets"].items():
        zero, means = f"{result['zero-shot'][name]:.1f}", [f"{average(result, m, name)[0]:+.1f}" for m in SHOWN]
        own = f"{result['own'][name]:+.1f}" if name in result["own"] else ""
        rows.append([f"{name} ({about['photos']} photos, {about['classes']} classes)", zero, *means, own])
    return markdown.table(["points of R@1 lost", "zero-shot R@1", *SHOWN, "sg-lora for this domain"], rows)
