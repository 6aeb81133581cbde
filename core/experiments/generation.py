"""Does a generated LoRA beat zero-shot, merging and the other controls on tasks it never saw? (DESIGN 5)

Five folds over tasks, see ``core.experiments.folds``. SG-LoRA is measured as a visitor gets it, as strong as the
confidence allows, and in full as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from core.backbones.lora import Lora
from core.common import markdown
from core.common.metrics import bootstrap_interval, measure
from core.experiments import figures, statistics
from core.experiments.context import ExperimentContext
from core.experiments.controls import METHODS, SEEDED, Setting
from core.experiments.folds import FOLDS, FoldRecipe, PreparedFold, oracle_part, prepare_fold
from core.sglora.router import SparseRouter
from core.training.tasks import Task

SEEDS = (0, 1, 2)
CHOSEN_ON = (0, 1)  # folds that were looked at while the recipe was chosen
RANDOM = ("quarterly financial report", "the sound of a violin", "a mathematical proof", "tax law in the nineteenth century")
OURS, FULL = "sg-lora", "sg-lora, full strength"
ORACLE, ONE_FOR_ALL = "fine-tuned oracle", "one LoRA for all"
RANDOM_NAME, RANDOM_FULL, OTHER = "random description", "random description, full strength", "another task's description"
METRICS = ("R@1", "R@5", "R@10", "mAP")
Row = dict[str, Any]


def run(context: ExperimentContext, recipe: FoldRecipe | None = None, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """All folds and seeds, and their summary. Finished ones are kept and not run again."""
    recipe = recipe or FoldRecipe.of(context.backbone)
    rows: list[Row] = []
    for seed in seeds:
        for fold in range(FOLDS):
            key = [asdict(recipe), list(METHODS), RANDOM]
            rows += context.piece(
                "generation", f"fold{fold}-seed{seed}", key, lambda f=fold, s=seed: fold_rows(context, f, s, recipe)
            )
    return {
        "recipe": asdict(recipe),
        "seeds": list(seeds),
        "backbone_fingerprint": context.backbone.fingerprint,
        **summarise(rows),
        "untouched folds": summarise([r for r in rows if r["fold"] not in CHOSEN_ON]),
        "calibration": calibration(rows),
        "rows": rows,
    }


def fold_rows(context: ExperimentContext, fold: int, seed: int, recipe: FoldRecipe) -> list[Row]:
    """Every method on a fold's held-out tasks: one row per task and method. What no seed changes is measured with the first."""
    parts = prepare_fold(context, fold, recipe, seed)
    rows = []
    for number, task in enumerate(parts.held):
        maps, texts, relevance = context.pool.evaluation(task.test)
        about = {"fold": fold, "task": task.name, "group": task.group, "seed": seed}
        own = []
        for method, (lora, more) in methods_of(context, parts, number, seed, recipe).items():
            found = measure(context.backbone.suffix(maps, lora), texts, relevance)
            own.append({**about, "method": method, **found, **more})
        rows += own
        shown = {r["method"]: (r["i2t"]["R@5"] + r["t2i"]["R@5"]) / 2 for r in own}
        some = [m for m in ("zero-shot", "top-k, softmax", ONE_FOR_ALL, OURS, FULL, ORACLE) if m in shown]
        context.log(f"fold {fold}, seed {seed}, {task.name}: R@5 " + ", ".join(f"{m} {shown[m]:.1f}" for m in some))
    return rows


def methods_of(
    context: ExperimentContext, parts: PreparedFold, number: int, seed: int, recipe: FoldRecipe
) -> dict[str, tuple[Lora | None, Row]]:
    """The adapter of every method for held-out task ``number``, and what else its row says."""
    task, repository = parts.held[number], parts.repository
    router = SparseRouter(repository.embeddings)

    def setting(description: str) -> Setting:
        embedding = context.backbone.encode_sentence([description])[0]
        return Setting(repository, parts.generator, router.route(description, embedding), seed)

    right, random, other = (
        setting(text)
        for text in (task.description, RANDOM[(number + seed) % len(RANDOM)], _another(parts.held, number, seed).description)
    )
    found: dict[str, tuple[Lora | None, Row]] = {}
    for name, method in METHODS.items():
        if seed == 0 or name in SEEDED:
            said = asdict(right.confidence) if name in (OURS, FULL) and right.confidence else {}
            found[name] = (method(right), {"confidence": said} if said else {})
    found[RANDOM_NAME] = (METHODS[OURS](random), {})
    found[RANDOM_FULL] = (METHODS[FULL](random), {})
    found[OTHER] = (METHODS[OURS](other), {})
    if seed == 0:
        found[ONE_FOR_ALL] = (Lora.from_vector(repository.layout, _cpu(parts.single)), {})
        found[ORACLE] = (oracle_part(context, task, recipe), {})
    return found


def _cpu(vector: Tensor) -> Tensor:
    return vector.detach().cpu()


def _another(held: Sequence[Task], number: int, seed: int) -> Task:
    """A held-out task of another group where there is one, else another task."""
    order = [held[(number + seed + step) % len(held)] for step in range(len(held))]
    own = held[number]
    return next((t for t in order if t.group != own.group), next((t for t in order if t is not own), own))


def _value(row: Row, metric: str) -> float:
    return (row["i2t"][metric] + row["t2i"][metric]) / 2


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over tasks, and SG-LoRA minus each control with its paired bootstrap 95 % interval over tasks.

    Seeds are averaged within a task first; figures are means of both directions, in percent.
    """
    methods = list(dict.fromkeys(r["method"] for r in rows))
    metrics = [m for m in METRICS if all(m in r["i2t"] for r in rows)]
    summary: dict[str, Any] = {}
    for group, own in statistics.grouped(rows):
        tasks = sorted({r["task"] for r in own})
        values = {
            (m, k): np.array([np.mean([_value(r, k) for r in own if r["method"] == m and r["task"] == t]) for t in tasks])
            for m in methods
            for k in metrics
        }
        summary[group] = {
            "tasks": len(tasks),
            "means": {m: {k: round(float(values[m, k].mean()), 2) for k in metrics} for m in methods},
            "sg-lora minus": {
                m: {k: [round(v, 2) for v in bootstrap_interval(values[OURS, k] - values[m, k])] for k in metrics}
                for m in methods
                if m != OURS
            },
        }
    return summary


def calibration(rows: Sequence[Row]) -> dict[str, Any]:
    """What the confidence said of held-out tasks against what adapting in full gained there, in points
    (as ``Confidence.gain``).

    Returns:
        {"tasks": [{"task", "group", "predicted", "probability", "strength", "observed", "with strength"}],
        "correlation", "bins": [{"probability": [low, high], "tasks", "said", "helped", "predicted", "observed"}]}; empty
        where no row has a confidence.
    """
    by = {(r["task"], r["method"], r["seed"]): r for r in rows}
    tasks = []
    for task in dict.fromkeys(r["task"] for r in rows):
        mine = [r for r in rows if r["task"] == task and r["method"] == FULL and r.get("confidence")]
        if not mine or (task, "zero-shot", 0) not in by:
            continue
        zero = _gain_figure(by[task, "zero-shot", 0])
        said = mine[0]["confidence"]
        used = [r for r in rows if r["task"] == task and r["method"] == OURS]
        tasks.append(
            {
                "task": task,
                "group": mine[0]["group"],
                "predicted": said["gain"],
                "probability": said["probability"],
                "strength": said["strength"],
                "observed": float(np.mean([_gain_figure(r) for r in mine])) - zero,
                "with strength": float(np.mean([_gain_figure(r) for r in used])) - zero,
            }
        )
    if len(tasks) < 2:
        return {}
    predicted, observed = (np.array([t[k] for t in tasks]) for k in ("predicted", "observed"))
    bins = []
    for low, high in ((0.0, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.01)):
        inside = [t for t in tasks if low <= t["probability"] < high]
        if inside:
            means = {k: float(np.mean([t[k] for t in inside])) for k in ("probability", "predicted", "observed")}
            bins.append(
                {
                    "probability": [low, min(high, 1.0)],
                    "tasks": len(inside),
                    "said": means["probability"],
                    "helped": float(np.mean([t["observed"] > 0 for t in inside])),
                    "predicted": means["predicted"],
                    "observed": means["observed"],
                }
            )
    correlation = float(np.corrcoef(predicted, observed)[0, 1])
    return {"tasks": tasks, "correlation": correlation, "bins": bins}


def _gain_figure(row: Row) -> float:
    return float(np.mean([_value(row, k) for k in ("R@1", "R@5")]))


def findings(result: Mapping[str, Any]) -> list[str]:
    """For each group what SG-LoRA beats, what beats it, and where there is no difference, in R@1; then the confidence."""
    said = [_compared(group, result[group]) for group in statistics.GROUPS if group in result]
    apart = result.get("untouched folds", {})
    if "all" in apart:
        lead = apart["all"]["sg-lora minus"]["zero-shot"]
        numbers = " and ".join(f"{markdown.difference(lead[k])} {k}" for k in ("R@1", "R@5"))
        said.append(
            "The recipe was chosen while looking at the first two folds. On the tasks of the other three "
            f"({apart['all']['tasks']}), SG-LoRA's lead over zero-shot is {numbers}."
        )
    found = result.get("calibration")
    if found:
        sure = [t for t in found["tasks"] if t["strength"] > 0]
        left = len(found["tasks"]) - len(sure)
        worst = min(found["tasks"], key=lambda t: t["with strength"])
        said.append(
            f"The confidence adapts {len(sure)} of {len(found['tasks'])} held-out tasks and recommends zero-shot for {left}; "
            f"predicted and observed gain correlate by {found['correlation']:.2f}. The largest loss with it is "
            f"{worst['with strength']:+.1f} points ({worst['task']})."
        )
    return said


def _compared(group: str, found: Mapping[str, Any]) -> str:
    leads = {m: lead["R@1"] for m, lead in found["sg-lora minus"].items()}
    parts = []
    for verb, holds in (("is above", markdown.above), ("is below", markdown.below)):
        names = [f"{m} ({markdown.difference(v)})" for m, v in leads.items() if holds(v)]
        parts += [f"{verb} {markdown.listed(names)}"] if names else []
    level = [m for m, v in leads.items() if not markdown.above(v) and not markdown.below(v)]
    parts += [f"does not differ from {markdown.listed(level)}"] if level else []
    return f"{group} ({found['tasks']} held-out tasks), R@1: SG-LoRA {'; it '.join(parts)}."


def table(result: Mapping[str, Any]) -> str:
    """Every method on held-out tasks, and SG-LoRA's lead over it; then what the confidence said against what came out."""
    parts = []
    for group in (g for g in statistics.GROUPS if g in result):
        found = result[group]
        rows = []
        for method, means in found["means"].items():
            lead = found["sg-lora minus"].get(method)
            shown = [markdown.difference(lead[k]) for k in ("R@1", "R@5")] if lead else ["", ""]
            name = f"**{method}**" if method == OURS else method
            rows.append([name, *(f"{value:.1f}" for value in means.values()), *shown])
        head = ["method", *found["means"][OURS], "SG-LoRA's lead, R@1", "R@5"]
        parts.append(f"{group}: {found['tasks']} held-out tasks\n\n{markdown.table(head, rows)}")
    found = result.get("calibration")
    if found:
        rows = [
            [
                f"{100 * b['probability'][0]:.0f} to {100 * b['probability'][1]:.0f} %",
                str(b["tasks"]),
                f"{100 * b['said']:.0f} %",
                f"{100 * b['helped']:.0f} %",
                f"{b['predicted']:+.1f}",
                f"{b['observed']:+.1f}",
            ]
            for b in found["bins"]
        ]
        head = ["chance of a gain", "tasks", "said", "came out", "predicted gain", "observed gain, full strength"]
        parts.append(f"Calibration of the confidence; gains are means of R@1 and R@5\n\n{markdown.table(head, rows)}")
    return "\n\n".join(parts)


def plot(result: Mapping[str, Any]) -> Figure:
    """SG-LoRA's lead over every method in R@1, a panel for each group; and predicted against observed gain."""
    groups = [g for g in statistics.GROUPS if g in result]
    tasks = (result.get("calibration") or {}).get("tasks", [])
    figure, axes = figures.panels(len(groups) + bool(tasks), 3.6, grid="x")
    for panel, group in zip(axes, groups, strict=False):
        leads = {method: lead["R@1"] for method, lead in result[group]["sg-lora minus"].items()}
        figures.intervals(panel, leads, f"SG-LoRA's lead in R@1, {group}")
    if tasks:
        panel = axes[-1]
        for colour, scenes, name in ((figures.ACCENT, True, "scenes"), (figures.SECOND, False, "special domains")):
            some = [t for t in tasks if (t["group"] == "scenes") is scenes]
            panel.plot(
                [t["predicted"] for t in some], [t["observed"] for t in some], "o", color=colour, label=name, markersize=4
            )
        low, high = (f([t[k] for t in tasks for k in ("predicted", "observed")]) for f in (min, max))
        panel.plot([low, high], [low, high], color=figures.QUIET, linewidth=1)
        panel.set_title("Gain at full strength, points")
        panel.set_xlabel("predicted by the confidence")
        panel.set_ylabel("observed")
        panel.legend()
    return figure
