"""Does SG-LoRA beat zero-shot, merging, one LoRA for everything and the other controls on tasks that no training saw?

This is the paper's question. Five folds over tasks answer it (``core.experiments.folds``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from core.common import markdown
from core.experiments import runner, statistics
from core.experiments.context import ExperimentContext
from core.experiments.controls import METHODS
from core.experiments.folds import FOLDS, FoldRecipe, prepare_fold
from core.experiments.known import OURS, measured, plot
from core.sglora.request import DEFAULT_WEIGHT
from core.training.distributed import Processes

__all__ = ["findings", "plot", "run", "summary", "table"]

SEEDS = (0, 1, 2)  # of trainings
Row = dict[str, Any]


def run(context: ExperimentContext, recipe: FoldRecipe | None = None, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Run all folds and seeds, and summarise them. Finished pieces are kept and not run again; processes share the work."""
    fold_recipe = recipe or FoldRecipe.of(context.backbone)
    key = [asdict(fold_recipe), list(METHODS), DEFAULT_WEIGHT]

    def piece(seed: int, fold: int) -> list[Row]:
        return context.piece("unseen", f"fold{fold}-seed{seed}", key, lambda: fold_rows(context, fold, fold_recipe, seed))

    processes, pieces = Processes.here(), [(seed, fold) for seed in seeds for fold in range(FOLDS)]
    context.backbone.to(processes.device)
    with processes.state.main_process_first():  # the others read its features from the cache
        _ = context.corpus
    for seed, fold in processes.share(pieces):
        piece(seed, fold)
    processes.state.wait_for_everyone()
    rows = [row for seed, fold in pieces for row in piece(seed, fold)]  # from the cache, which all processes share
    return {
        "recipe": asdict(fold_recipe),
        "seeds": list(seeds),
        "folds": sorted({r["fold"] for r in rows}),
        "groups": statistics.summary(rows, (runner.SCENES, runner.SPECIAL), OURS),
        "rows": rows,
    }


def fold_rows(context: ExperimentContext, fold: int, recipe: FoldRecipe, seed: int = 0) -> list[Row]:
    """Measure every method on a fold's held-out tasks."""
    prepared = prepare_fold(context, fold, recipe, seed)
    rows: list[Row] = []
    for task in prepared.held:
        group = runner.SCENES if task.group == "scenes" else runner.SPECIAL
        about = {"fold": fold, "training seed": seed, "group": group, "task": task.name, "domain": task.group}
        about["photos"] = len(task.test)
        rows += [about | row for row in measured(prepared.engine, prepared.corpus, task.description, task.test)]
        context.log(f"fold {fold}, {task.name}")
    return rows


def summary(result: Mapping[str, Any]) -> list[str]:
    """The main results in three sentences, for the top of the Evidence tab."""
    scenes = result["groups"]["scenes"]
    methods = scenes["methods"]
    zero, ours, random = (methods[name]["mean"] for name in ("zero-shot", OURS, "random-sentence"))
    extra = methods["random-sentence"]["ours minus it"]["R@5"]
    sentences = [
        f"Photos of everyday scenes that no training saw: the right answer comes first for {ours['R@1']:.0f} of 100 questions "
        f"instead of {zero['R@1']:.0f}, and is among the first five for {ours['R@5']:.0f} instead of {zero['R@5']:.0f} "
        f"(mean of {scenes['tasks']} kinds of scenes).",
        f"Most of it is what all adapters share: for a random sentence it is {random['R@1']:.0f} and {random['R@5']:.0f}, "
        f"and the right sentence adds {markdown.difference(extra)} points among the first five.",
    ]
    for group, content in result["groups"].items():
        if group != "scenes":
            zero, ours = (content["methods"][name]["mean"] for name in ("zero-shot", OURS))
            first, five = (content["methods"]["zero-shot"]["ours minus it"][figure] for figure in ("R@1", "R@5"))
            sentences.append(
                f"Photos of {group} that no training saw: the right answer comes first for {ours['R@1']:.0f} instead of "
                f"{zero['R@1']:.0f} ({markdown.difference(first)} points), and is among the first five for {ours['R@5']:.0f} "
                f"instead of {zero['R@5']:.0f} ({markdown.difference(five)})."
            )
    return sentences


def findings(result: Mapping[str, Any]) -> list[str]:
    sentences = []
    for group, content in result["groups"].items():
        methods = content["methods"]
        for other in ("zero-shot", "merge", "one-lora", "random-sentence"):
            values = methods[other]["ours minus it"]
            sentences.append(
                f"{group}: SG-LoRA minus {other}: {markdown.difference(values['R@1'])} R@1, "
                f"{markdown.difference(values['R@5'])} R@5 ({_verdict(values['R@1'])}; {_verdict(values['R@5'])})."
            )
    return sentences


def _verdict(interval: Sequence[float]) -> str:
    _, low, high = interval
    return "above zero" if low > 0 else "below zero" if high < 0 else "no difference"


def table(result: Mapping[str, Any]) -> str:
    head = f"Folds {', '.join(map(str, result['folds']))}, training seeds {', '.join(map(str, result['seeds']))}."
    return f"{head}\n\n{statistics.summary_table(result['groups'], OURS)}"
