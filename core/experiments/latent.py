"""How much information does z carry? The generator trained with several weights lambda of the KL divergence.

If lambda is too large, the posterior collapses: every seed gives the same adapter. If it is too small, adapters resemble no
expert. Tasks are sampled from validation photos: this experiment chooses the recipe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from core.backbones.lora import Lora
from core.common import markdown
from core.experiments import statistics
from core.experiments.context import ExperimentContext
from core.retrieval.columns import text_rows
from core.sglora.description import embed_descriptions
from core.sglora.generator import LoraGenerator
from core.sglora.repository import ExpertRepository
from core.sglora.router import Routing, SparseRouter
from core.training.corpus import Corpus, usual_adapter
from core.training.dense_tasks import DenseTask, DenseTasks
from core.training.experts import runs_of
from core.training.generator import GeneratorRecipe, fit_generator
from core.training.snapshots import read_snapshots

LAMBDAS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
TASKS = 100
SEEDS = (0, 1, 2)
PHOTOS = 8  # fewest photos of a keyword
LEFT_OUT = 12  # closest experts that are left out to measure unknown topics
FIRST = 12  # photos that the page shows
KNOWN, UNKNOWN = "known", "closest experts left out"
VARIANTS = ("mean", "sample")


def validation_tasks(corpus: Corpus) -> list[tuple[DenseTask, torch.Tensor]]:
    """Tasks sampled from validation photos with a fixed seed, each with the embedding [s] of a sentence."""
    rng = np.random.default_rng(0)
    sampler = DenseTasks(corpus, corpus.validation, PHOTOS)
    tasks = [sampler.sample(rng) for _ in range(TASKS)]
    embeddings = embed_descriptions(corpus.backbone, [task.sentence(corpus, rng) for task in tasks])
    return list(zip(tasks, embeddings, strict=True))


def run(context: ExperimentContext) -> dict[str, Any]:
    """The effects of each lambda on samples, and the recall of samples minus that of the merge."""
    corpus, repository = context.corpus, context.engine.repository
    runs = runs_of(repository, context.backbone, context.cache, context.data)
    snapshots, tasks = read_snapshots(runs, [e.name for e in repository.experts]), validation_tasks(corpus)
    generators = {
        f"{weight:g}": fit_generator(repository, snapshots, GeneratorRecipe(kl=weight), context.log) for weight in LAMBDAS
    }
    rows: list[dict[str, Any]] = []
    apart: dict[str, list[float]] = {label: [] for label in generators}
    moved: dict[str, list[float]] = {label: [] for label in generators}
    for number, (task, sentence) in enumerate(tasks):
        for group, experts in ((KNOWN, repository), (UNKNOWN, _without(repository, task, sentence))):
            routing = SparseRouter(experts.embeddings).route("", sentence)
            variants = [("merge", experts.merged(routing.chosen, routing.weights))]
            for label, generator in generators.items():
                mean, *samples = _decoded(experts, generator, routing)
                variants += [(f"mean {label}", mean), *((f"sample {label}", sample) for sample in samples)]
                if group == KNOWN:
                    apart[label] += [_distance(a, b) for a, b in pairwise(samples)]
                    moved[label].append(_moved(corpus, task, samples))
            for variant, lora in variants:
                recalls = statistics.both_ways(corpus.recalls(task.rows, lora))
                rows.append({"group": group, "task": str(number), "variant": variant, **recalls})
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
    above: dict[str, Any] = {}
    for group in (KNOWN, UNKNOWN):
        group_rows = [row for row in rows if row["group"] == group]
        above[group] = {
            label: {variant: statistics.difference(group_rows, f"{variant} {label}", "merge", "R@1") for variant in VARIANTS}
            for label in generators
        }
    return {"lambdas": effects, "above the merge": above, "shipped": f"{GeneratorRecipe().kl:g}"}


def _without(repository: ExpertRepository, task: DenseTask, sentence: torch.Tensor) -> ExpertRepository:
    """The repository without the experts closest to a task and the experts of its special domain."""
    out = set((repository.embeddings @ sentence).topk(min(LEFT_OUT, len(repository) - 2)).indices.tolist())
    kept = [i for i, e in enumerate(repository.experts) if i not in out and (task.domain is None or e.group != task.domain)]
    return repository.subset(kept)


def _decoded(experts: ExpertRepository, generator: LoraGenerator, routing: Routing) -> list[Lora]:
    """The LoRA of the mean of p(z | c), and of one sample per seed."""
    prior = experts.prior(routing)
    thetas = (generator.sample(prior, seed).theta for seed in (None, *SEEDS))
    return [experts.with_shared(experts.generated(routing, theta)) for theta in thetas]


def _between_experts(repository: ExpertRepository) -> float:
    """Mean distance of random pairs of experts."""
    order = np.random.default_rng(0).permutation(len(repository)).tolist()
    return float(np.mean([_distance(repository.own(a), repository.own(b)) for a, b in pairwise(order)]))


def _moved(corpus: Corpus, task: DenseTask, samples: Sequence[Lora]) -> float:
    """How many of the first photos for a caption of the task change with another seed, on average."""
    rows, text = np.flatnonzero(corpus.validation & corpus.scenes), corpus.texts[int(corpus.own_texts[task.rows[0]][0])][None]
    first = []
    for lora in samples:
        adapter = usual_adapter(corpus.backbone, lora)
        photos = corpus.indexed(rows, adapter)
        first.append(set((text_rows(corpus.backbone, text, adapter) @ photos.T)[0].topk(FIRST).indices.tolist()))
    return float(np.mean([len(a - b) for a, b in pairwise(first)]))


def findings(result: Mapping[str, Any]) -> list[str]:
    shipped = result["lambdas"][result["shipped"]]
    return [
        f"With lambda {result['shipped']}, as shipped, z says {shipped['nats']:.1f} nats, two seeds' adapters are "
        f"{shipped['apart']:.0%} as far apart as two experts, and {shipped['moved']:.1f} of the first {FIRST} photos differ."
    ]


def table(result: Mapping[str, Any]) -> str:
    head = ["lambda", "KL, nats", "two seeds apart", f"others of {FIRST}"]
    head += [f"{group}: {variant} minus merge, R@1" for group in (KNOWN, UNKNOWN) for variant in VARIANTS]
    lines = []
    for weight, about in result["lambdas"].items():
        above = [result["above the merge"][group][weight][variant] for group in (KNOWN, UNKNOWN) for variant in VARIANTS]
        figures = [f"{about['nats']:.2f}", f"{about['apart']:.0%}", f"{about['moved']:.1f}"]
        lines.append([weight, *figures, *map(markdown.difference, above)])
    return markdown.table(head, lines)


def _distance(a: Lora, b: Lora) -> float:
    """Frobenius norm of the difference of two weight changes."""
    square = 0.0
    for name in a.factors.keys() | b.factors.keys():
        one, two = a.factors.get(name), b.factors.get(name)
        if one is not two:  # the same object: both LoRAs have the shared part there
            deltas = [0.0 if f is None else f.delta.double() for f in (one, two)]
            square += float(torch.as_tensor(deltas[0] - deltas[1]).square().sum())
    return math.sqrt(square)
