"""Does SG-LoRA beat zero-shot, merging, one LoRA for everything and the other controls on tasks that no training saw?

Five folds over tasks, see ``core.experiments.folds``: the question of the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from core.backbones.lora import Lora
from core.common import markdown
from core.experiments import statistics
from core.experiments.context import ExperimentContext
from core.experiments.controls import METHODS, Setting, sg_lora
from core.experiments.folds import FOLDS, FoldRecipe, prepare_fold, shared_out
from core.experiments.known import OURS, measured, plot_differences
from core.training.confidence import rank_correlation

SEEDS = (0, 1, 2)  # of trainings
SAMPLES = (0, 1, 2)  # of the generator
SCENES, SPECIAL = "scenes", "special domains"
CVAE = "paper's decoder"
FULL = "sg-lora, full strength"
Row = dict[str, Any]


def run(context: ExperimentContext, recipe: FoldRecipe | None = None, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """All folds and seeds, and their summary. Finished ones are kept and not run again; several processes share them out."""
    chosen = recipe or FoldRecipe.of(context.backbone)
    key = [asdict(chosen), list(METHODS)]

    def piece(seed_and_fold: tuple[int, int]) -> list[Row]:
        seed, fold = seed_and_fold
        return context.piece("unseen", f"fold{fold}-seed{seed}", key, lambda: fold_rows(context, fold, chosen, seed))

    found = shared_out(context, [(seed, fold) for seed in seeds for fold in range(FOLDS)], piece)
    return summarised([row for rows in found for row in rows], chosen, seeds)


def summarised(rows: list[Row], recipe: FoldRecipe, seeds: Sequence[int]) -> dict[str, Any]:
    """The result of these rows."""
    return {
        "recipe": asdict(recipe),
        "seeds": list(seeds),
        "folds": sorted({r["fold"] for r in rows}),
        "groups": statistics.summary(rows, (SCENES, SPECIAL), OURS),
        "confidence": calibration(rows),
        "rows": rows,
    }


def fold_rows(context: ExperimentContext, fold: int, recipe: FoldRecipe, seed: int = 0) -> list[Row]:
    """Every method on a fold's held-out tasks, with what the confidence said of each."""
    parts = prepare_fold(context, fold, recipe, seed)
    decoding = replace(parts.engine, generator=parts.cvae)

    def decoded(s: Setting) -> Any:
        return sg_lora(replace(s, engine=decoding, strength=1.0))

    def full(s: Setting) -> Any:
        return sg_lora(replace(s, strength=1.0))

    methods = {**METHODS, FULL: full, CVAE: decoded}
    rows: list[Row] = []
    for task in parts.held:

        def recalls(lora: Lora | None, rows: np.ndarray = task.test) -> Mapping[str, Any]:
            return context.corpus.recalls(parts.engine.backbone, rows, lora)

        found = measured(parts.engine, task.description, recalls, methods, SAMPLES)
        judged = parts.engine.confidence(parts.engine.route(task.description))
        said = (
            {}
            if judged is None
            else {"expected": judged.gain, "probability": judged.probability, "closeness": judged.closeness}
        )
        group = SCENES if task.group == "scenes" else SPECIAL
        about = {"fold": fold, "training seed": seed, "group": group, "task": task.name, "domain": task.group, **said}
        rows += [{**about, "photos": len(task.test), **row} for row in found]
        shown = {r["variant"]: r for r in found}
        some = ", ".join(f"{m} {shown[m]['R@1']:.1f} / {shown[m]['R@5']:.1f}" for m in ("zero-shot", "merge", "one-lora", OURS))
        context.log(f"fold {fold}, {task.name}: {some}")
    return rows


def calibration(rows: Sequence[Row]) -> dict[str, Any]:
    """Rank correlation of expected with observed gains (mean of R@1 and R@5) over left-out tasks, and how often a gain came."""
    points: dict[str, dict[str, float]] = {}
    for row in rows:
        if "expected" in row and row["variant"] in ("zero-shot", FULL) and row["seed"] == 0:
            point = points.setdefault(
                f"{row['task']} {row['training seed']}", {"expected": row["expected"], "p": row["probability"]}
            )
            point[row["variant"]] = (row["R@1"] + row["R@5"]) / 2
    both = [p for p in points.values() if "zero-shot" in p and FULL in p]
    if len(both) < 3:
        return {}
    gains = np.array([p[FULL] - p["zero-shot"] for p in both])
    expected = np.array([p["expected"] for p in both])
    return {
        "tasks": len(both),
        "rank correlation": round(rank_correlation(expected, gains), 3),
        "mean expected": round(float(expected.mean()), 2),
        "mean observed": round(float(gains.mean()), 2),
        "mean probability": round(float(np.mean([p["p"] for p in both])), 3),
        "share that gained": round(float((gains > 0).mean()), 3),
    }


def summary(result: Mapping[str, Any]) -> list[str]:
    """What the whole experiment says, for those who read nothing else."""
    scenes = result["groups"]["scenes"]
    methods = scenes["methods"]
    zero, ours, random = (methods[name]["mean"] for name in ("zero-shot", OURS, "random-sentence"))
    extra = methods["random-sentence"]["ours minus it"]["R@5"]
    said = [
        f"Photos of everyday scenes that no training saw: the right answer comes first for {ours['R@1']:.0f} of 100 questions "
        f"instead of {zero['R@1']:.0f}, and is among the first five for {ours['R@5']:.0f} instead of {zero['R@5']:.0f} "
        f"(mean of {scenes['tasks']} kinds of scenes).",
        f"Most of it is what all adapters share: for a random sentence it is {random['R@1']:.0f} and {random['R@5']:.0f}, "
        f"and the right sentence adds {markdown.difference(extra)} points among the first five.",
    ]
    for group, content in result["groups"].items():
        gain = content["methods"]["zero-shot"]["ours minus it"]["R@1"]
        if group != "scenes":
            sure = "a gain" if markdown.above(gain) else "a loss" if markdown.below(gain) else "no sure difference"
            said.append(f"For {group} that no training saw it makes {sure}: {markdown.difference(gain)} points.")
    return said


def findings(result: Mapping[str, Any]) -> list[str]:
    """SG-LoRA beside zero-shot, the merge, and one LoRA for everything; and what the confidence was worth."""
    said = []
    for group, content in result["groups"].items():
        methods = content["methods"]
        for other in ("zero-shot", "merge", "one-lora", "random-sentence"):
            values = methods[other]["ours minus it"]
            said.append(
                f"{group}: SG-LoRA minus {other}: {markdown.difference(values['R@1'])} R@1, "
                f"{markdown.difference(values['R@5'])} R@5 ({_verdict(values['R@1'])}; {_verdict(values['R@5'])})."
            )
    found = result["confidence"]
    if found:
        said.append(
            f"Over {found['tasks']} left-out tasks the expected gain's rank correlation with the observed one is "
            f"{found['rank correlation']:.2f}; {found['share that gained']:.0%} of the tasks gained, "
            f"and {found['mean probability']:.0%} was expected on average."
        )
    return said


def _verdict(interval: Sequence[float]) -> str:
    return "above zero" if markdown.above(interval) else "below zero" if markdown.below(interval) else "no difference"


def table(result: Mapping[str, Any]) -> str:
    """A table a group."""
    head = f"Folds {', '.join(map(str, result['folds']))}, training seeds {', '.join(map(str, result['seeds']))}."
    return f"{head}\n\n{statistics.summary_table(result['groups'], OURS)}"


def plot(result: Mapping[str, Any]) -> Figure:
    """SG-LoRA minus each control."""
    return plot_differences(result["groups"])
