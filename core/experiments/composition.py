"""How many experts does a repository need, and which? Recall of SG-LoRA with subsets of the experts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from core.common import markdown
from core.experiments import runner, statistics
from core.experiments.context import ExperimentContext
from core.experiments.held_tasks import HeldTask
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

SIZES, DRAWS, EVERY = (1, 4, 16, 64), 3, 3  # every third scene
RANDOM, COVER, ALL, OWN = "random", "covering", "all experts", "of its kind"
OWN_SIZES = (0, 1, 2, 4, 8)
CLOSEST = 8  # experts that count as of a scene's kind


def covering(similarity: np.ndarray, count: int) -> list[int]:
    """Facility location: add the expert that raises the mean, over all experts, of the similarity to the closest pick."""
    best, order = np.full(len(similarity), -1.0), list[int]()
    for _ in range(count):
        gained = np.maximum(similarity, best[:, None]).mean(0)
        gained[order] = -np.inf
        order.append(int(gained.argmax()))
        best = np.maximum(best, similarity[:, order[-1]])
    return order


def subsets(embeddings: np.ndarray) -> Iterator[tuple[str, list[int]]]:
    """Subsets of experts that no task decides: (variant, indexes)."""
    for size in (s for s in SIZES if s < len(embeddings)):
        yield f"{COVER} {size}", covering(embeddings @ embeddings.T, size)
        for draw in range(DRAWS):
            yield f"{RANDOM} {size}", np.random.default_rng([size, draw]).permutation(len(embeddings))[:size].tolist()


def of_kind(engine: SGLora, task: HeldTask) -> list[int]:
    """The experts of a task's domain; for scenes, the CLOSEST ones."""
    experts = engine.repository.experts
    if task.group != "scenes":
        return [i for i, e in enumerate(experts) if e.group == task.group]
    return engine.route(task.description).similarity.topk(min(CLOSEST, len(experts) - 1)).indices.tolist()


def part(engine: SGLora, keep: Iterable[int]) -> SGLora:
    return replace(engine, repository=engine.repository.subset(sorted(keep)))


def run(context: ExperimentContext) -> dict[str, Any]:
    """Recall by subset, and what all experts have above it, paired by task; gains of one more expert of the task's kind."""
    engine, n = context.engine, len(context.engine.repository)
    made = [(variant, part(engine, keep)) for variant, keep in subsets(engine.repository.embeddings.numpy())]

    def variants(task: HeldTask) -> Iterable[runner.Variant]:
        request, kind = AdapterRequest(task.description), of_kind(engine, task)
        for variant, some in made:
            yield {"variant": variant}, some.adapt(request).full
        for size in (s for s in OWN_SIZES if s <= len(kind)):
            for draw in range(DRAWS if 0 < size < len(kind) else 1):
                picked = np.random.default_rng([size, draw]).permutation(kind)[:size].tolist()
                keep = {*range(n)}.difference(kind).union(picked)
                yield {"variant": f"{size} {OWN}"}, part(engine, keep).adapt(request).full
        adaptation = engine.adapt(request)
        yield {"variant": ALL}, adaptation.full
        yield from runner.controls(engine, adaptation)

    tasks = runner.known_tasks(context.corpus)
    tasks[runner.SCENES] = tasks[runner.SCENES][::EVERY]
    rows = runner.measured(context, "composition", tasks, variants)
    groups = statistics.summary(rows, ALL)
    for group, of_group in statistics.grouped(rows, "group").items():
        groups[group]["one more"] = one_more(of_group)
    return {"experts": n, "groups": groups}


def one_more(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Points of R@1 that each expert of a kind brings, from a number of them to the next, and over how many tasks."""
    gains = {}
    for few, many in pairwise(OWN_SIZES):
        a, b = (statistics.by_task(rows, f"{size} {OWN}", "R@1") for size in (many, few))
        if each := [(a[task] - b[task]) / (many - few) for task in sorted(a.keys() & b.keys())]:
            gains[f"{few} to {many}"] = {"tasks": len(each), "each": statistics.interval(each)}
    return gains


def findings(result: Mapping[str, Any]) -> Iterator[str]:
    for group, content in result["groups"].items():
        steps = content["one more"].items()
        gains = [f"{markdown.difference(v['each'])} from {step} ({v['tasks']} tasks)" for step, v in steps]
        yield f"One more expert of a task's kind, in points of R@1 ({group}): {', '.join(gains)}."
