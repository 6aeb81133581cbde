"""Does a generated LoRA beat zero-shot, merging and the other controls on tasks it never saw? (DESIGN 5)

Five folds over tasks. In a fold, no photo of a held-out task trains the shared start, an expert or the generator.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.backbones.embedded import EmbeddedBackbone
from core.experiments import figures, tables
from core.experiments.controls import METHODS, Setting
from core.experiments.study import Study
from core.experts import Expert, ExpertRepository
from core.lora import Lora, LoraLayout
from core.metrics import bootstrap_interval, measure
from core.router import DEFAULT_K, DEFAULT_TAU, SparseRouter
from core.training.experts import (
    ExpertRecipe,
    TrainedExpert,
    initial_vector,
    shared_tasks,
    train_expert,
    train_shared,
)
from core.training.generator import GeneratorRecipe, fit_generator
from core.training.pool import Pool, without_photos
from core.training.tasks import EVERYDAY, Task

FOLDS = 5
SEEDS = (0, 1, 2)
GROUPS = ("all", "scenes", "special domains")
RANDOM = ("quarterly financial report", "the sound of a violin", "a mathematical proof", "tax law in the nineteenth century")
ORACLE, RANDOM_NAME, ONE_FOR_ALL = "fine-tuned oracle", "random description", "one LoRA for all"
Log = Callable[[str], None]


@dataclass(frozen=True)
class GenerationRecipe:
    """Trainings of one fold; shorter than the shipped ones, so that five folds fit into a session."""

    experts: ExpertRecipe = field(default_factory=lambda: ExpertRecipe(shared_steps=300, steps=32, check=32))
    generator: GeneratorRecipe = field(default_factory=lambda: GeneratorRecipe(steps=400))


def folds(pool: Pool) -> list[list[int]]:
    """Task indexes of each fold: scenes and special domains are dealt in turn; EVERYDAY, all photos, is never held out."""
    dealt = [i for i, t in enumerate(pool.tasks) if t.name != EVERYDAY]
    ordered = sorted(dealt, key=lambda i: (pool.tasks[i].group != "scenes", i * 7919 % 101))
    return [ordered[f::FOLDS] for f in range(FOLDS)]


@dataclass(frozen=True)
class Fold:
    """What one fold may use: seen tasks, and what was trained on them.

    Attributes:
        held: indexes of the held-out tasks. seen: the other tasks, less every photo of a held-out task.
        start: [P] the experts' shared start. single: [P] one LoRA trained on all seen tasks.
        experts: one per seen task.
    """

    held: list[int]
    seen: list[Task]
    start: Tensor
    single: Tensor
    experts: list[TrainedExpert]


def train_fold(backbone: EmbeddedBackbone, pool: Pool, fold: int, recipe: ExpertRecipe, folder: Path, log: Log = print) -> Fold:
    """Train a fold's experts, or read what an interrupted run left in ``folder``."""
    held = folds(pool)[fold]
    hidden = np.concatenate([np.concatenate([pool.tasks[i].train, pool.tasks[i].stop, pool.tasks[i].test]) for i in held])
    seen = without_photos([t for i, t in enumerate(pool.tasks) if i not in held], hidden)
    seen = [t for t in seen if len(t.train) >= 16 and len(t.stop)]

    def kept(name: str, train: Callable[[], Tensor]) -> Tensor:
        file = folder / f"{name}.safetensors"
        if not file.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            save_file({"value": train().contiguous()}, file)
        return load_file(file)["value"]

    start = kept("start", lambda: train_shared(backbone, pool, shared_tasks(seen), recipe, log))
    single = kept("single", lambda: train_shared(backbone, pool, seen, recipe, log))
    trained = []
    for i, task in enumerate(seen):
        snapshots = kept(task.name, lambda i=i, task=task: train_expert(backbone, pool, task, start, recipe, i).snapshots)
        trained.append(TrainedExpert.of(snapshots))
        if (i + 1) % 10 == 0:
            log(f"fold {fold}: {i + 1}/{len(seen)} experts")
    return Fold(held, seen, start, single, trained)


def run_fold(
    backbone: EmbeddedBackbone, pool: Pool, fold: int, recipe: GenerationRecipe, folder: Path, log: Log = print
) -> list[dict[str, Any]]:
    """Train without the fold's tasks and measure every method on them: one row per task, method and seed."""
    parts = train_fold(backbone, pool, fold, recipe.experts, folder, log)
    held, seen, start, single, trained = parts.held, parts.seen, parts.start, parts.single, parts.experts
    layout = LoraLayout(backbone.layout.modules, recipe.experts.rank)
    generator = fit_generator(backbone, pool, seen, trained, start, recipe.experts, recipe.generator, log)
    empty: dict[str, Any] = {}
    repository = ExpertRepository(
        backbone.fingerprint,
        layout,
        tuple(Expert(t.name, t.description, t.group, t.source, len(t.train), 0, 0, empty, empty) for t in seen),
        torch.stack([t.mean for t in trained]),
        torch.stack([t.std for t in trained]),
        backbone.encode_sentence([t.description for t in seen]),
        start,
    )
    router = SparseRouter(repository.embeddings)
    random_embeddings = backbone.encode_sentence(RANDOM)
    rows = []
    for i in held:
        task = pool.tasks[i]
        maps, texts, relevance = pool.evaluation(task.test)

        def row(method: str, seed: int, lora: Lora | None, task=task, maps=maps, texts=texts, relevance=relevance) -> None:
            found = measure(backbone.suffix(maps, lora), texts, relevance)
            rows.append({"fold": fold, "task": task.name, "group": task.group, "method": method, "seed": seed, **found})

        embedding = backbone.encode_sentence([task.description])[0]
        routing = router.route(task.description, embedding, DEFAULT_K, DEFAULT_TAU)
        for name, method in METHODS.items():
            for seed in SEEDS if name in ("sg-lora", "DARE") else SEEDS[:1]:
                row(name, seed, method(Setting(repository, generator, routing, seed)))
        row(ONE_FOR_ALL, 0, Lora.from_vector(layout, single))
        for seed in SEEDS:
            other = router.route("", random_embeddings[(i + seed) % len(RANDOM)], DEFAULT_K, DEFAULT_TAU)
            row(RANDOM_NAME, seed, METHODS["sg-lora"](Setting(repository, generator, other, seed)))
        own = replace(recipe.experts, steps=2 * recipe.experts.steps)
        oracle = train_expert(backbone, pool, task, initial_vector(layout, recipe.experts.seed), own, 1000 + i)
        row(ORACLE, 0, Lora.from_vector(layout, oracle.mean))
        best = {m: np.mean([r["i2t"]["R@5"] + r["t2i"]["R@5"] for r in rows if r["task"] == task.name and r["method"] == m]) / 2
                for m in ("zero-shot", "top-k, softmax", ONE_FOR_ALL, "sg-lora", ORACLE)}  # fmt: skip
        log(f"fold {fold}, {task.name}: R@5 " + ", ".join(f"{m} {v:.1f}" for m, v in best.items()))
    return rows


def run(study: Study, recipe: GenerationRecipe = GenerationRecipe()) -> dict[str, Any]:
    """All folds and their summary. Finished folds are kept, under backbone and recipe, and not run again."""
    backbone, folder = study.backbone, study.folder("generation")
    parts, whole = (_digest(backbone, r) for r in (recipe.experts, recipe))
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for fold in range(FOLDS):
        file = folder / f"{whole}-fold{fold}.json"
        if not file.is_file():
            found = run_fold(backbone, study.pool, fold, recipe, folder / f"{parts}-fold{fold}", study.log)
            file.write_text(json.dumps(found))
        rows += json.loads(file.read_text())
    return {"recipe": asdict(recipe), "backbone_fingerprint": backbone.fingerprint, **summarise(rows), "rows": rows}


def _digest(backbone: EmbeddedBackbone, recipe: ExpertRecipe | GenerationRecipe) -> str:
    return hashlib.sha256(json.dumps([backbone.fingerprint, asdict(recipe)]).encode()).hexdigest()[:8]


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over tasks, and SG-LoRA minus each control with its paired bootstrap 95 % interval over tasks.

    Seeds are averaged within a task first; recalls are means of both directions, in percent.
    """
    methods = list(dict.fromkeys(r["method"] for r in rows))
    groups = {"all": lambda g: True, "scenes": lambda g: g == "scenes", "special domains": lambda g: g != "scenes"}
    summary: dict[str, Any] = {}
    for group, member in groups.items():
        tasks = sorted({r["task"] for r in rows if member(r["group"])})
        if not tasks:
            continue
        values = {
            (m, k): np.array(
                [np.mean([(r["i2t"][k] + r["t2i"][k]) / 2 for r in rows if r["method"] == m and r["task"] == t]) for t in tasks]
            )
            for m in methods
            for k in ("R@1", "R@5", "R@10")
        }
        summary[group] = {
            "tasks": len(tasks),
            "means": {m: {k: round(float(values[m, k].mean()), 2) for k in ("R@1", "R@5", "R@10")} for m in methods},
            "sg-lora minus": {
                m: {k: [round(v, 2) for v in bootstrap_interval(values["sg-lora", k] - values[m, k])] for k in ("R@1", "R@5")}
                for m in methods
                if m != "sg-lora"
            },
        }
    return summary


def findings(result: Mapping[str, Any]) -> list[str]:
    """For each group: what SG-LoRA beats, what beats it, and where there is no difference, in R@1."""
    said = []
    for group in (g for g in GROUPS if g in result):
        leads = {m: lead["R@1"] for m, lead in result[group]["sg-lora minus"].items()}
        parts = []
        for verb, holds in (("is above", tables.above), ("is below", tables.below)):
            names = [f"{m} ({tables.difference(v)})" for m, v in leads.items() if holds(v)]
            parts += [f"{verb} {tables.listed(names)}"] if names else []
        level = [m for m, v in leads.items() if not tables.above(v) and not tables.below(v)]
        parts += [f"does not differ from {tables.listed(level)}"] if level else []
        said.append(f"{group} ({result[group]['tasks']} held-out tasks), R@1: SG-LoRA {'; it '.join(parts)}.")
    return said


def table(result: Mapping[str, Any]) -> str:
    """Every method on held-out tasks, and SG-LoRA's lead over it."""
    parts = []
    for group in (g for g in GROUPS if g in result):
        found = result[group]
        rows = []
        for method, means in found["means"].items():
            lead = found["sg-lora minus"].get(method)
            shown = [tables.difference(lead[k]) for k in ("R@1", "R@5")] if lead else ["", ""]
            name = f"**{method}**" if method == "sg-lora" else method
            rows.append([name, *(f"{means[k]:.1f}" for k in ("R@1", "R@5", "R@10")), *shown])
        head = ["method", "R@1", "R@5", "R@10", "SG-LoRA's lead, R@1", "R@5"]
        parts.append(f"{group}: {found['tasks']} held-out tasks\n\n{tables.table(head, rows)}")
    return "\n\n".join(parts)


def plot(result: Mapping[str, Any]) -> Figure:
    """SG-LoRA's lead over every method in R@1, a panel for each group."""
    groups = [g for g in GROUPS if g in result]
    figure, axes = figures.panels(len(groups), 3.2, grid="x")
    for panel, group in zip(axes, groups, strict=True):
        leads = {method: lead["R@1"] for method, lead in result[group]["sg-lora minus"].items()}
        figures.intervals(panel, leads, f"SG-LoRA's lead in R@1, {group}")
    return figure
