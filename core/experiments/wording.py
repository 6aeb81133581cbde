"""How much does it matter how well a task is described? From one word to a detailed sentence, in other words, vaguely, wrongly,
and about something else altogether (the paper's open question).

Held-out tasks of all folds, with the texts of ``core.experiments.phrasings``. A wrong description is that of another held-out
task which is no neighbour of this one. LoRAs are applied in full, and as strongly as the confidence allows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from core.common import markdown
from core.common.errors import DataError
from core.common.metrics import measure
from core.experiments import figures, statistics
from core.experiments.context import ExperimentContext
from core.experiments.controls import Setting, full_strength
from core.experiments.descriptions import NEIGHBOURS
from core.experiments.folds import FOLDS, FoldRecipe, PreparedFold, prepare_fold
from core.experiments.phrasings import LEVELS, PHRASINGS, RANDOM, VAGUE, Phrasing
from core.sglora.router import Routing, SparseRouter
from core.training.tasks import Task

SEEDS = (0,)
ZERO, OWN, OTHERS, ABOUT_ANYTHING = "zero-shot", "its own description", "in other words", "vague"
WRONG_NEAR, WRONG_FAR, NOTHING = "wrong, of its kind", "wrong, of another kind", "about no photos"
KINDS = (*LEVELS, OWN, OTHERS, ABOUT_ANYTHING, WRONG_NEAR, WRONG_FAR, NOTHING)
TEXTS = 2  # of each kind that has several
FULL, SURE = "full strength", "by confidence"
METHODS = (FULL, SURE)


def run(
    context: ExperimentContext,
    chosen: Sequence[int] = range(FOLDS),
    recipe: FoldRecipe | None = None,
    phrasings: Mapping[str, Phrasing] = PHRASINGS,
) -> dict[str, Any]:
    """``summarise`` of the folds; the rows stay in the cache.

    Raises:
        DataError: no held-out task is among the phrasings.
    """
    recipe = recipe or FoldRecipe.of(context.backbone)
    rows: list[dict[str, Any]] = []
    for fold in chosen:
        prepared = prepare_fold(context, fold, recipe)
        said = {task.name: texts(prepared.held, n, phrasings) for n, task in enumerate(prepared.held)}
        key = [statistics.identity(prepared.repository, prepared.generator), said, SEEDS]
        rows += context.piece("wording", f"fold{fold}", key, lambda p=prepared, f=fold, s=said: run_fold(context, p, f, s))
    if not rows:
        raise DataError("None of these tasks is described in core/experiments/phrasings.py: add texts for yours there.")
    return {"folds": list(chosen), "seeds": list(SEEDS), **summarise(rows)}


def texts(held: Sequence[Task], number: int, phrasings: Mapping[str, Phrasing]) -> dict[str, list[str]]:
    """All that is said of held-out task ``number``, by kind; empty where nobody wrote anything about it."""
    task = held[number]
    if task.name not in phrasings:
        return {}
    written = phrasings[task.name]
    near, far = ([t for t in _unrelated(held, number) if (_kind(t) == _kind(task)) is same] for same in (True, False))
    return {
        **{level: [text] for level, text in zip(LEVELS, written.levels, strict=True)},
        OWN: [task.description],
        OTHERS: list(written.others),
        ABOUT_ANYTHING: _some(VAGUE, number),
        WRONG_NEAR: [t.description for t in near[:TEXTS]],
        WRONG_FAR: [t.description for t in far[:TEXTS]],
        NOTHING: _some(RANDOM, number),
    }


def _some(listed: Sequence[str], number: int) -> list[str]:
    return [listed[(TEXTS * number + i) % len(listed)] for i in range(TEXTS)]


def _kind(task: Task) -> str:
    return "scenes" if task.group == "scenes" else "special domains"


def _unrelated(held: Sequence[Task], number: int) -> list[Task]:
    """The other held-out tasks that are no neighbours of this one, beginning with the next."""
    task = held[number]
    order = [held[(number + step) % len(held)] for step in range(1, len(held))]
    return [t for t in order if not _near(task, t) and not _near(t, task)]


def _near(task: Task, other: Task) -> bool:
    """Whether another task is of the same special domain, or is listed as a neighbour."""
    if task.group == other.group != "scenes":
        return True
    listed = NEIGHBOURS.get(task.name if task.group == "scenes" else f"{task.group}/", "").split()
    return other.name in listed or f"{other.group}/" in listed


def overlap(routing: Routing, other: Routing) -> float:
    """Share of the weight that two routings give to the same experts, 0 to 1."""
    weights = dict(zip(other.chosen.tolist(), other.weights.tolist(), strict=True))
    return sum(min(w, weights.get(i, 0.0)) for i, w in zip(routing.chosen.tolist(), routing.weights.tolist(), strict=True))


def run_fold(
    context: ExperimentContext, prepared: PreparedFold, fold: int, said: Mapping[str, Mapping[str, Sequence[str]]]
) -> list[dict[str, Any]]:
    """A row for each held-out task, kind of description, text, seed and method, and zero-shot's.

    Args:
        said: what ``texts`` gives, by task.
    """
    rows = []
    router = SparseRouter(prepared.repository.embeddings)

    def route(text: str) -> Routing:
        return router.route(text, context.backbone.encode_sentence([text])[0])

    for number, task in enumerate(prepared.held, 1):
        if not said[task.name]:
            continue
        maps, captions, relevance = context.pool.evaluation(task.test)
        where = {"fold": fold, "task": task.name, "group": task.group}
        zero = statistics.both_ways(measure(context.backbone.suffix(maps), captions, relevance))
        rows += [{**where, "variant": ZERO, "method": m, "seed": 0, **zero} for m in METHODS]
        own = route(task.description)
        for variant, listed in said[task.name].items():
            for text in listed:
                routing = route(text)
                about = {"variant": variant, "text": text, "overlap": round(overlap(own, routing), 3)}
                for seed in SEEDS:
                    setting = Setting(prepared.repository, prepared.generator, routing, seed)
                    lora, found = full_strength(setting), {}
                    for method, strength in ((FULL, 1.0), (SURE, setting.strength)):
                        if strength not in found:
                            images = context.backbone.suffix(maps, lora.scaled(strength)) if strength else None
                            found[strength] = (
                                zero if images is None else statistics.both_ways(measure(images, captions, relevance))
                            )
                        more = {"method": method, "seed": seed, "strength": round(strength, 3)}
                        rows.append({**where, **about, **more, **found[strength]})
        if number % 5 == 0 or number == len(prepared.held):
            context.log(f"wording, fold {fold}: {number} of {len(prepared.held)} held-out tasks")
    return rows


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For each group, what each kind of description gains over zero-shot and loses against the task's own description, with
    paired 95 % intervals over tasks; texts and seeds are averaged within a task. In points, mean of both directions.

    Returns:
        {group: {"tasks": n, "per level": {method: gain in R@1 of a level more}, "kinds": {kind: {"strength", "overlap",
        method: {"R@1", "R@5", "gain", "gain R@5", "minus own", "minus own R@5"}}}}}
    """
    found: dict[str, Any] = {}
    for group, own in statistics.grouped(rows):
        by_method = {m: [r for r in own if r["method"] == m] for m in METHODS}
        kinds = [k for k in KINDS if any(r["variant"] == k for r in own)]
        found[group] = {
            "tasks": len({r["task"] for r in own}),
            "per level": {m: per_level(by_method[m]) for m in METHODS},
            "kinds": {
                kind: {
                    "strength": statistics.mean(by_method[SURE], kind, "strength"),
                    "overlap": statistics.mean(by_method[SURE], kind, "overlap"),
                    **{m: _compared(by_method[m], kind) for m in METHODS},
                }
                for kind in kinds
            },
        }
    return found


def _compared(rows: Sequence[Mapping[str, Any]], kind: str) -> dict[str, Any]:
    return {
        **{k: statistics.mean(rows, kind, k) for k in ("R@1", "R@5")},
        "gain": statistics.difference(rows, kind, ZERO, "R@1"),
        "gain R@5": statistics.difference(rows, kind, ZERO, "R@5"),
        "minus own": statistics.difference(rows, kind, OWN, "R@1"),
        "minus own R@5": statistics.difference(rows, kind, OWN, "R@5"),
    }


def per_level(rows: Sequence[Mapping[str, Any]]) -> statistics.Interval:
    """Points of R@1 that one more level of detail is worth: the mean over tasks of the least-squares slope through a task's
    five levels, [mean, low, high]."""
    levels = [statistics.by_task(rows, level, "R@1") for level in LEVELS]
    steps = np.arange(len(LEVELS)) - (len(LEVELS) - 1) / 2
    return statistics.interval([float(steps @ [level[t] for level in levels] / (steps @ steps)) for t in sorted(levels[0])])


def findings(result: Mapping[str, Any]) -> list[str]:
    """Gain from one word to a detailed sentence, what differs from the own description, and what the confidence makes of it."""
    said = []
    for group in (g for g in statistics.GROUPS if g in result):
        kinds, slope = result[group]["kinds"], result[group]["per level"][FULL]
        told = markdown.above(slope) or markdown.below(slope)
        gains = [f"{kinds[level][FULL]['gain'][0]:+.1f}" for level in LEVELS]
        said.append(
            f"{group} ({result[group]['tasks']} held-out tasks), at full strength: R@1 over zero-shot {markdown.listed(gains)} "
            f"from one word to a detailed one, {markdown.difference(kinds[OWN][FULL]['gain'])} with the task's own "
            "description. "
            f"One more level of detail {'is worth' if told else 'makes no sure difference,'} {markdown.difference(slope)}. "
            f"{_told_apart(kinds, FULL)}"
        )
    for group in (g for g in statistics.GROUPS if g in result):
        kinds = result[group]["kinds"]
        strengths = [f"{kinds[k]['strength']:.2f} ({k})" for k in (OWN, ABOUT_ANYTHING, WRONG_NEAR, NOTHING) if k in kinds]
        said.append(f"{group}, as strong as the confidence allows, {markdown.listed(strengths)}: {_told_apart(kinds, SURE)}")
    return said


def _told_apart(kinds: Mapping[str, Any], method: str) -> str:
    """Which kinds differ from the task's own description, in words."""
    others = {k: v[method]["minus own"] for k, v in kinds.items() if k != OWN}
    sure = [f"“{k}” ({markdown.difference(d)})" for k, d in others.items() if markdown.above(d) or markdown.below(d)]
    if not sure:
        return "No kind of description differs from the task's own in R@1."
    return f"R@1 differs from that with the task's own description for {markdown.listed(sure)}."


def table(result: Mapping[str, Any]) -> str:
    """A line for each kind of description, a table for each group."""
    parts = []
    head = [
        "description",
        "same experts",
        *(f"{what}, {m}" for m in METHODS for what in ("gain in R@1", "R@5", "minus own, R@1")),
    ]
    head.append("strength")
    for group in (g for g in statistics.GROUPS if g in result):
        rows = []
        for kind, found in result[group]["kinds"].items():
            figures_ = [markdown.difference(found[m][k]) for m in METHODS for k in ("gain", "gain R@5", "minus own")]
            rows.append([kind, f"{100 * found['overlap']:.0f} %", *figures_, f"{found['strength']:.2f}"])
        title = (
            f"{group}: {result[group]['tasks']} held-out tasks; gains over zero-shot, and differences to the own description"
        )
        parts.append(f"{title}\n\n{markdown.table(head, rows)}")
    return "\n\n".join(parts)


def plot(result: Mapping[str, Any]) -> Figure:
    """R@1 over zero-shot by kind of description, in full and by the confidence; a panel for each group."""
    groups = [g for g in statistics.GROUPS if g in result]
    figure, axes = figures.panels(len(groups), 3.3, grid="x")
    for panel, group in zip(axes, groups, strict=True):
        kinds = result[group]["kinds"]
        panel.axvline(0, color=figures.INK, linewidth=0.8)
        for method, shift, colour in ((FULL, 0.16, figures.ACCENT), (SURE, -0.16, figures.SECOND)):
            mean, low, high = np.array([v[method]["gain"] for v in kinds.values()]).T
            places = np.arange(len(kinds))[::-1] + shift
            panel.errorbar(mean, places, xerr=[mean - low, high - mean], fmt="o", color=colour, markersize=4, label=method)
        panel.set_yticks(range(len(kinds))[::-1], list(kinds))
        panel.axhline(len(kinds) - len(LEVELS) - 0.5, color=figures.QUIET, linewidth=0.6)
        panel.set_title(f"R@1 over zero-shot, {group}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
