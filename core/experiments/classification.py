"""Is SG-LoRA further from fine-tuning in classification than in retrieval, and are experts more orthogonal there? (the
paper's open question)

Held-out tasks of special domains are zero-shot classification: which of the task's classes does a photo show? Their LoRAs are
trained with the same contrastive loss as all others, with templates over class names for captions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from core.backbones.lora import Lora
from core.backbones.lora_algebra import merge
from core.common import markdown
from core.common.metrics import bootstrap_interval, measure
from core.experiments import figures, statistics
from core.experiments.context import ExperimentContext
from core.experiments.controls import Setting, full_strength, sg_lora, softmax_merge
from core.experiments.cosines import cosines, pair_mean
from core.experiments.folds import FOLDS, FoldRecipe, PreparedFold, oracle_part, prepare_fold
from core.sglora.router import SparseRouter
from core.training.experts import begins_fresh
from core.training.task_dataset import Pool
from core.training.tasks import Task

SEEDS = (0, 1, 2)
ZERO, MERGE, SINGLE, SG, TUNED = "zero-shot", "top-k merge", "one LoRA for all", "SG-LoRA", "fine-tuned"
FULL = "SG-LoRA, full strength"  # without the confidence: the paper's
METHODS = (ZERO, MERGE, SINGLE, FULL, SG, TUNED)
GAPS = tuple((v, TUNED) for v in METHODS if v != TUNED)
PAIRS = (*GAPS, (FULL, ZERO), (SG, ZERO), (TUNED, ZERO), (FULL, MERGE), (FULL, SINGLE))
CLASSIFICATION, RETRIEVAL = "classification", "retrieval"
EXPERTS, OWN = "experts", "experts less what they began at"
MEASURES = {CLASSIFICATION: "accuracy", RETRIEVAL: "R@1"}


def accuracies(images: Tensor, classes: Tensor, labels: np.ndarray) -> dict[str, float]:
    """Top-1 accuracy in percent over photos ("accuracy"), and as a mean over classes ("balanced").

    Args:
        images: [n, d]. classes: [c, d]; both of unit length. labels: [n], rows of ``classes``.
    """
    right = ((images @ classes.T).argmax(1).numpy() == labels).astype(float)
    by_class = [right[labels == c].mean() for c in np.unique(labels)]
    return {"accuracy": round(100 * float(right.mean()), 3), "balanced": round(100 * float(np.mean(by_class)), 3)}


def classes_of(pool: Pool, rows: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """Class embeddings [c, d], each the mean of its caption templates (as CLIP does), and the class of each photo [n].

    The classes are those of the photos at these rows.
    """
    _, first, labels = np.unique(pool.labels[rows], return_index=True, return_inverse=True)
    means = [pool.texts[torch.from_numpy(pool.own_texts[rows[i]])].mean(0) for i in first]
    return F.normalize(torch.stack(means), dim=-1), labels


def run(context: ExperimentContext, chosen: Sequence[int] = range(FOLDS), recipe: FoldRecipe = FoldRecipe()) -> dict[str, Any]:
    """``summarise`` of all held-out tasks, ``per_task`` accuracies, and cosines between LoRAs: of fine-tuned ones, which all
    begin at nothing and have one recipe, and of the shipped experts."""
    rows: list[dict[str, Any]] = []
    held: list[Task] = []
    for fold in chosen:
        prepared = prepare_fold(context, fold, recipe)
        held += prepared.held
        key = [statistics.identity(prepared.repository, prepared.generator), prepared.single.sum().item(), recipe, SEEDS]
        rows += context.piece("classification", f"fold{fold}", key, lambda p=prepared, f=fold: run_fold(context, p, f, recipe))
    cosine = {TUNED: orthogonality([oracle_part(context, t, recipe) for t in held], [t.group for t in held])}
    repository = context.engine.repository
    start = Lora.from_vector(repository.layout, repository.origin)
    experts, groups = [repository.lora(i) for i in range(len(repository))], [e.group for e in repository.experts]
    cosine[EXPERTS] = orthogonality(experts, groups)
    began = zip(experts, begins_fresh(repository.experts), strict=True)  # special domains at nothing
    cosine[OWN] = orthogonality([e if fresh else merge([e, start], [1.0, -1.0]) for e, fresh in began], groups)
    return {**summarise(rows), "cosines": cosine, "tasks": per_task(rows)}


def run_fold(context: ExperimentContext, prepared: PreparedFold, fold: int, recipe: FoldRecipe) -> list[dict[str, Any]]:
    """A row for each held-out task, method and seed, with the cosine of its weight change to the fine-tuned LoRA's."""
    rows = []
    for number, task in enumerate(prepared.held, 1):
        tuned = oracle_part(context, task, recipe)
        for variant, seed, lora in _loras(context, prepared, task, tuned):
            near = None if lora is None else round(float(cosines([lora, tuned])[0, 1]), 4)
            where = {"fold": fold, "task": task.name, "group": task.group, "kind": kind(task.group)}
            rows.append({**where, "variant": variant, "seed": seed, "cosine": near, **_measured(context, task, lora)})
        if number % 5 == 0 or number == len(prepared.held):
            context.log(f"classification, fold {fold}: {number} of {len(prepared.held)} held-out tasks")
    return rows


def kind(group: str) -> str:
    """Captions ask for retrieval, labels for classification."""
    return RETRIEVAL if group == "scenes" else CLASSIFICATION


def _loras(context: ExperimentContext, prepared: PreparedFold, task: Task, tuned: Lora) -> list[tuple[str, int, Lora | None]]:
    repository = prepared.repository
    embedding = context.backbone.encode_sentence([task.description])[0]
    routing = SparseRouter(repository.embeddings).route(task.description, embedding)
    settings = [Setting(repository, prepared.generator, routing, seed) for seed in SEEDS]
    return [
        (ZERO, 0, None),
        (MERGE, 0, softmax_merge(settings[0])),
        (SINGLE, 0, Lora.from_vector(repository.layout, prepared.single)),
        *((FULL, s.seed, full_strength(s)) for s in settings),
        *((SG, s.seed, sg_lora(s)) for s in settings),
        (TUNED, 0, tuned),
    ]


def _measured(context: ExperimentContext, task: Task, lora: Lora | None) -> dict[str, Any]:
    maps, texts, relevance = context.pool.evaluation(task.test)
    images = context.backbone.suffix(maps, lora)
    found: dict[str, Any] = {**statistics.both_ways(measure(images, texts, relevance)), "photos": len(images)}
    if kind(task.group) == CLASSIFICATION:
        classes, labels = classes_of(context.pool, task.test)
        found |= {"classes": len(classes), **accuracies(images, classes, labels)}
    return found


def orthogonality(loras: Sequence[Lora], groups: Sequence[str]) -> dict[str, list[float]]:
    """Mean cosine between the weight changes of two LoRAs, [mean, low, high], for kinds of pairs: two of retrieval, two of
    classification, and of the latter those of one domain and of two.

    Args:
        groups: of the LoRAs' tasks.
    """
    names = np.array(groups)
    scenes, alike = names == "scenes", names[:, None] == names
    off, special = ~np.eye(len(names), dtype=bool), ~scenes[:, None] & ~scenes
    pairs = {
        RETRIEVAL: off & alike & ~special,
        CLASSIFICATION: off & special,
        "of one domain": off & special & alike,
        "of two domains": special & ~alike,
        "one of each": scenes[:, None] ^ scenes,
    }
    values = cosines(loras)
    return {k: [round(v, 3) for v in pair_mean(values, p)] for k, p in pairs.items() if p.any()}


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For classification and retrieval: means over tasks; the differences of PAIRS with their paired 95 % bootstrap intervals;
    the ``share`` of fine-tuning's gain that SG-LoRA reaches; cosines of weight changes to the fine-tuned LoRA's. Seeds are
    averaged within a task. In percent; "balanced" is accuracy as a mean over classes."""
    found: dict[str, Any] = {}
    for which, measured in MEASURES.items():
        own = [r for r in rows if r["kind"] == which]
        if not own:
            continue
        means = {v: statistics.mean(own, v, measured) for v in METHODS}
        near = [r for r in own if r["cosine"] is not None]
        found[which] = {
            "tasks": len({r["task"] for r in own}),
            "measure": measured,
            "means": means,
            "differences": {f"{a} minus {b}": statistics.difference(own, a, b, measured) for a, b in PAIRS},
            "share": share(own, measured),
            "cosine to fine-tuned": {v: _cosine(near, v) for v in (MERGE, SINGLE, FULL)},
        }
        if which == CLASSIFICATION:
            found[which]["balanced"] = {v: statistics.mean(own, v, "balanced") for v in METHODS}
            found[which]["balanced differences"] = {
                f"{a} minus {b}": statistics.difference(own, a, b, "balanced") for a, b in PAIRS
            }
    return found


def _cosine(rows: Sequence[Mapping[str, Any]], variant: str) -> list[float]:
    return [round(v, 3) for v in bootstrap_interval(list(statistics.by_task(rows, variant, "cosine").values()))]


def share(rows: Sequence[Mapping[str, Any]], measured: str, seed: int = 0, draws: int = 10_000) -> list[float] | None:
    """SG-LoRA's mean gain over zero-shot, at full strength, as a share of fine-tuning's, in percent: [share, low, high].
    The bootstrap draws tasks, for both means at once. None where fine-tuning's gain cannot be told from zero."""
    zero, sg, tuned = (statistics.by_task(rows, v, measured) for v in (ZERO, FULL, TUNED))
    tasks = sorted(zero)
    gains = np.array([[sg[t] - zero[t], tuned[t] - zero[t]] for t in tasks])
    picks = np.random.default_rng(seed).integers(0, len(tasks), (draws, len(tasks)))
    top, bottom = gains[picks].mean(1).T
    if np.percentile(bottom, 2.5) <= 0:
        return None
    low, high = np.percentile(100 * top / bottom, [2.5, 97.5])
    return [round(float(v), 1) for v in (100 * gains[:, 0].mean() / gains[:, 1].mean(), low, high)]


def per_task(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each classification task: number of classes and photos, and every method's accuracy, seeds averaged."""
    found = []
    own = [r for r in rows if r["kind"] == CLASSIFICATION]
    for task in sorted({r["task"] for r in own}):
        some = [r for r in own if r["task"] == task]
        scores = {v: round(statistics.by_task(some, v, "accuracy")[task], 1) for v in METHODS}
        found.append({"task": task, "classes": some[0]["classes"], "photos": some[0]["photos"], **scores})
    return found


def findings(result: Mapping[str, Any]) -> list[str]:
    """The gap to fine-tuning in both kinds of task, and how orthogonal experts are."""
    said = []
    for which in (w for w in MEASURES if w in result):
        found = result[which]
        gaps = {
            a: {b: markdown.difference(found["differences"][f"{a} minus {b}"]) for x, b in PAIRS if x == a} for a, _ in PAIRS
        }
        said.append(
            f"{which[0].upper()}{which[1:]} ({found['tasks']} held-out tasks, {found['measure']}): fine-tuning gains "
            f"{gaps[TUNED][ZERO]} over zero-shot, SG-LoRA {gaps[FULL][ZERO]} at full strength{_shared(found['share'])} and "
            f"{gaps[SG][ZERO]} by its confidence. The gap to fine-tuning is {gaps[FULL][TUNED]} at full strength, "
            f"{gaps[SG][TUNED]} by confidence, and {gaps[MERGE][TUNED]} for the merge of the same experts."
        )
    tuned, experts = result["cosines"][TUNED], result["cosines"][EXPERTS]
    if CLASSIFICATION in tuned and RETRIEVAL in tuned:
        one, two = tuned[CLASSIFICATION], tuned[RETRIEVAL]
        more = "more" if one[2] < two[1] else "less" if one[1] > two[2] else "neither more nor less"
        said.append(
            f"Weight changes of two fine-tuned LoRAs have a cosine of {_shown(one)} in classification and {_shown(two)} in "
            f"retrieval: they are {more} orthogonal in classification than in retrieval. (Two shipped experts as they are: "
            f"{_shown(experts.get(CLASSIFICATION))} and {_shown(experts.get(RETRIEVAL))}; those of scenes share a start.)"
        )
    return said


def _shared(found: Sequence[float] | None) -> str:
    return "" if found is None else f" ({found[0]:.0f} % of that, [{found[1]:.0f}, {found[2]:.0f}])"


def _shown(interval: Sequence[float] | None) -> str:
    if interval is None:
        return ""
    mean, low, high = interval
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def table(result: Mapping[str, Any]) -> str:
    """Both kinds side by side, experts' cosines, then every classification task."""
    kinds = [w for w in MEASURES if w in result]
    heads = [f"{w}: {result[w]['measure']}, {result[w]['tasks']} tasks" for w in kinds]
    rows = [[v, *(f"{result[w]['means'][v]:.1f}" for w in kinds)] for v in METHODS]
    for a, b in PAIRS:
        name = f"{a} minus {b}"
        rows.append([name, *(markdown.difference(result[w]["differences"][name]) for w in kinds)])
    rows += [
        [f"cosine of weight changes to fine-tuned: {v}", *(_shown(result[w]["cosine to fine-tuned"][v]) for w in kinds)]
        for v in (MERGE, SINGLE, FULL)
    ]
    parts = [markdown.table(["", *heads], rows)]
    found = result["cosines"]
    rows = [[k, *(_shown(found[w].get(k)) for w in (TUNED, EXPERTS, OWN))] for k in found[TUNED]]
    head = ["pairs", "fine-tuned, from nothing", "shipped experts", "shipped experts, less what they began at"]
    said = "Mean cosine between the weight changes of two LoRAs (0 = orthogonal)"
    parts.append(f"{said}\n\n{markdown.table(head, rows)}")
    if result["tasks"]:
        rows = [[t["task"], str(t["classes"]), str(t["photos"]), *(f"{t[v]:.1f}" for v in METHODS)] for t in result["tasks"]]
        listed = markdown.table(["held-out task", "classes", "photos", *METHODS], rows)
        parts.append(f"Accuracy in percent of every held-out classification task\n\n{listed}")
    return "\n\n".join(parts)


def plot(result: Mapping[str, Any]) -> Figure:
    """The gap to fine-tuning in both kinds; then cosines between fine-tuned LoRAs."""
    kinds = [w for w in MEASURES if w in result]
    figure, axes = figures.panels(len(kinds) + 1, 1.9, grid="x")
    for panel, which in zip(axes, kinds, strict=False):
        found = result[which]["differences"]
        title = f"{which[0].upper()}{which[1:]}: {result[which]['measure']} minus fine-tuning's"
        figures.intervals(panel, {a: found[f"{a} minus {b}"] for a, b in GAPS}, title)
    figures.intervals(axes[-1], result["cosines"][TUNED], "Cosine of two fine-tuned LoRAs' weight changes")
    return figure
