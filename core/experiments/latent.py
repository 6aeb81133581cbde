"""How much does z say? The generator trained with several weights of the KL divergence, on watched photos.

Too large a lambda collapses the posterior: every seed gives the same adapter. Too small a one draws adapters that no expert
resembles. Tasks are sampled from photos that trained nothing and measure nothing else; here the recipe is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from core.backbones.lora import Lora
from core.common import markdown
from core.experiments import statistics
from core.experiments.context import ExperimentContext
from core.experts.compare import distance
from core.retrieval.columns import text_rows
from core.sglora.description import embed_descriptions
from core.sglora.engine import SGLora
from core.sglora.generator import LoraGenerator
from core.sglora.repository import ExpertRepository
from core.sglora.router import Routing, SparseRouter
from core.training.corpus import Corpus, usual_adapter
from core.training.dense_tasks import DenseTasks
from core.training.experts import runs_of
from core.training.generator import GeneratorRecipe, fit_generator
from core.training.snapshots import read_snapshots

LAMBDAS = (1.0, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
TASKS = 100
SEEDS = (0, 1, 2)
PHOTOS = 8  # that a keyword needs
LEFT_OUT = 12  # closest experts, for the figures of topics that no expert knows
FIRST = 12  # photos that the page shows
KNOWN, UNKNOWN = "known", "closest experts left out"


@dataclass(frozen=True)
class WatchedTask:
    """Photos that only choose recipes: their rows, and a sentence's embedding [s]."""

    rows: np.ndarray
    embedding: torch.Tensor
    domain: str | None


def watched_tasks(corpus: Corpus, engine: SGLora, count: int = TASKS) -> list[WatchedTask]:
    """Sampled tasks of watched photos, always the same ones."""
    rng = np.random.default_rng(0)
    sampler = DenseTasks(corpus, corpus.watched, PHOTOS)
    drawn = [sampler.sample(rng) for _ in range(count)]
    embeddings = embed_descriptions(engine.backbone, [task.sentence(corpus, rng) for task in drawn])
    return [WatchedTask(task.rows, embedding, task.domain) for task, embedding in zip(drawn, embeddings, strict=True)]


def run(
    context: ExperimentContext, lambdas: Sequence[float] = LAMBDAS, recipe: GeneratorRecipe = GeneratorRecipe()
) -> dict[str, Any]:
    """Rows of all tasks by lambda, and what each lambda does to samples."""
    corpus, engine = context.corpus, context.engine
    repository = engine.repository
    runs = runs_of(repository, context.backbone, context.cache, context.data)
    snapshots, tasks = read_snapshots(runs, repository), watched_tasks(corpus, engine)
    generators = {
        f"{weight:g}": fit_generator(context.backbone, repository, snapshots, replace(recipe, kl=weight), context.log)
        for weight in lambdas
    }
    rows: list[dict[str, Any]] = []
    apart: dict[str, list[float]] = {label: [] for label in generators}
    moved: dict[str, list[float]] = {label: [] for label in generators}

    def recalls(loras: Mapping[str, Lora | None], task: WatchedTask) -> dict[str, dict[str, float]]:
        return {name: statistics.both_ways(corpus.recalls(context.backbone, task.rows, lora)) for name, lora in loras.items()}

    for number, task in enumerate(tasks):
        for group, experts in ((KNOWN, repository), (UNKNOWN, _without(repository, task))):
            routing = SparseRouter(experts.embeddings).route("", task.embedding)
            merged = experts.merged(routing)
            controls = recalls({"zero-shot": None, "one-lora": experts.shared, "merge": merged}, task)
            for label, generator in generators.items():
                mean, *samples = _decoded(experts, generator, routing)
                drawn = recalls({"mean": mean, **{f"sample {i}": lora for i, lora in enumerate(samples)}}, task)
                about = {"group": group, "lambda": label, "task": str(number)}
                rows += [{**about, "variant": variant, **values} for variant, values in {**controls, **drawn}.items()]
                if group == KNOWN:
                    apart[label] += [distance(a, b) for a, b in pairwise(samples)]
                    moved[label].append(_moved(corpus, engine, task, samples))
        context.log(f"task {number + 1} of {len(tasks)}")
    between = _between_experts(repository)
    effects = {
        label: {
            "nats": generator.notes["KL in nats"],
            "apart": float(np.mean(apart[label])) / between,
            "moved": float(np.mean(moved[label])),
        }
        for label, generator in generators.items()
    }
    return {"tasks": len(tasks), "lambdas": effects, "recalls": _recalls(rows), "shipped": f"{GeneratorRecipe().kl:g}"}


def _without(repository: ExpertRepository, task: WatchedTask) -> ExpertRepository:
    """The repository without the experts closest to a task, and without those of its special domain."""
    out = set((repository.embeddings @ task.embedding).topk(min(LEFT_OUT, len(repository) - 2)).indices.tolist())
    kept = [i for i, e in enumerate(repository.experts) if i not in out and (task.domain is None or e.group != task.domain)]
    return repository.subset(kept)


def _decoded(experts: ExpertRepository, generator: LoraGenerator, routing: Routing) -> list[Lora]:
    """The LoRA of the mean of p(z | c), and of a sample a seed."""
    prior = experts.prior(routing)
    vectors = (generator.sample(prior, seed).vector for seed in (None, *SEEDS))
    return [experts.with_shared([experts.generated(routing, prior, vector)], [1.0]) for vector in vectors]


def _between_experts(repository: ExpertRepository) -> float:
    """Mean distance between two experts."""
    order = np.random.default_rng(0).permutation(len(repository)).tolist()
    return float(np.mean([distance(repository.own(a), repository.own(b)) for a, b in pairwise(order)]))


def _moved(corpus: Corpus, engine: SGLora, task: WatchedTask, samples: Sequence[Lora]) -> float:
    """How many of the first photos for a caption of the task are others with another seed."""
    rows, text = np.flatnonzero(corpus.watched & corpus.scenes), corpus.texts[int(corpus.own_texts[task.rows[0]][0])][None]
    first = []
    for lora in samples:
        adapter = usual_adapter(engine.backbone, lora)
        photos = corpus.indexed(engine.backbone, rows, adapter)
        first.append(set((text_rows(engine.backbone, text, adapter) @ photos.T)[0].topk(FIRST).indices.tolist()))
    return float(np.mean([len(a - b) for a, b in pairwise(first)]))


def _recalls(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For each group, lambda and variant: mean R@1 and R@5, and what it has above the merge, with intervals over tasks."""
    found: dict[str, Any] = {}
    for group in (KNOWN, UNKNOWN):
        for weight in dict.fromkeys(row["lambda"] for row in rows):
            own = [row for row in rows if row["group"] == group and row["lambda"] == weight]
            own = [{**row, "variant": row["variant"].split()[0]} for row in own]
            found.setdefault(group, {})[weight] = {
                variant: {
                    m: [statistics.mean(own, variant, m), statistics.difference(own, variant, "merge", m)]
                    for m in ("R@1", "R@5")
                }
                for variant in dict.fromkeys(row["variant"] for row in own)
            }
    return found


def findings(result: Mapping[str, Any]) -> list[str]:
    """What the shipped lambda does."""
    shipped = result["lambdas"].get(result["shipped"])
    if shipped is None:
        return []
    return [
        f"With lambda {result['shipped']}, as shipped, z says {shipped['nats']:.1f} nats, two seeds' adapters are "
        f"{shipped['apart']:.0%} as far apart as two experts, and {shipped['moved']:.1f} of the first {FIRST} photos differ."
    ]


def table(result: Mapping[str, Any]) -> str:
    """A line a lambda."""
    head = ["lambda", "KL, nats", "two seeds apart", f"others of {FIRST}"]
    head += [f"{group}: {variant} minus merge, R@1" for group in (KNOWN, UNKNOWN) for variant in ("mean", "sample")]
    lines = []
    for weight, about in result["lambdas"].items():
        differences = [
            markdown.difference(result["recalls"][group][weight][variant]["R@1"][1])
            for group in (KNOWN, UNKNOWN)
            for variant in ("mean", "sample")
        ]
        lines.append([weight, f"{about['nats']:.2f}", f"{about['apart']:.0%}", f"{about['moved']:.1f}", *differences])
    return markdown.table(head, lines)
