"""Does SG-LoRA beat its controls on tasks that no training saw? This is the paper's question; ``folds`` answers it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from core.experiments import runner, statistics
from core.experiments.context import ExperimentContext
from core.experiments.folds import FOLDS, FoldRecipe, split, trained
from core.experiments.known import OURS

SEEDS = (0, 1, 2)  # of trainings


def run(context: ExperimentContext, recipe: FoldRecipe | None = None, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Run all folds and seeds, and summarise them. Finished trainings are kept."""
    fold_recipe = recipe or FoldRecipe.of(context.backbone)
    rows = [row for seed in seeds for fold in range(FOLDS) for row in fold_rows(context, fold, fold_recipe, seed)]
    return {
        "recipe": asdict(fold_recipe),
        "seeds": list(seeds),
        "folds": sorted({r["fold"] for r in rows}),
        "groups": statistics.summary(rows, OURS),
        "rows": rows,
    }


def fold_rows(context: ExperimentContext, fold: int, recipe: FoldRecipe, seed: int) -> list[runner.Row]:
    """Measure every method on a fold's held-out tasks, with models that no photo of them trained."""
    made = trained(context, f"fold{fold}", lambda corpus: split(corpus, fold)[1], recipe, seed)
    held, _ = split(made.context.corpus, fold)
    scenes = [task for task in held if task.group == runner.SCENES]
    tasks = {runner.SPECIAL: [task for task in held if task.group != runner.SCENES], runner.SCENES: scenes}
    rows = runner.measured(made.context, "unseen", tasks, lambda task: runner.methods(made.engine, task.description))
    context.log(f"fold {fold}, training seed {seed}: done")
    return [{"fold": fold, "training seed": seed} | row for row in rows]
