"""Does the confidence protect where no expert fits? Special domains with a repository of everyday scenes alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from core.common import markdown
from core.common.metrics import bootstrap_interval, measure
from core.experiments import figures
from core.experiments.context import ExperimentContext
from core.experiments.controls import METHODS, Setting
from core.experiments.folds import FoldRecipe, generator_part, prepare_fold, shared_part, single_recipe
from core.experiments.generation import FULL, OURS, calibration
from core.sglora.router import SparseRouter
from core.training.confidence import leave_one_out_gains, with_confidence
from core.training.experts import TrainedExpert

FOLD = 0  # whose scenes are the repository
MOST = 1.0  # R@5 that a domain may lose
SHOWN = ("zero-shot", "top-k, softmax", FULL, OURS)


def run(context: ExperimentContext, recipe: FoldRecipe = FoldRecipe()) -> dict[str, Any]:
    """Every special domain's tasks, with the experts of one fold's scenes, a confidence and a generator of them alone."""
    parts = prepare_fold(context, FOLD, recipe)
    scenes = [i for i, t in enumerate(parts.seen) if t.group == "scenes"]
    seen = [parts.seen[i] for i in scenes]
    repository = parts.repository.subset(scenes)
    key = [hashlib.sha256(repository.means.numpy().tobytes()).hexdigest(), [e.description for e in repository.experts]]
    gains = context.piece(
        "domains", "leave-one-out", key, lambda: leave_one_out_gains(context.backbone, context.pool, repository, seen)
    )
    repository = with_confidence(context.backbone, repository, gains)
    shared = shared_part(context, seen, single_recipe(recipe))
    trained = [TrainedExpert.of(parts.snapshots[i]) for i in scenes]
    generator = generator_part(context, seen, trained, recipe, 0, shared)
    router = SparseRouter(repository.embeddings)
    rows = []
    for task in (t for t in context.pool.tasks if t.group != "scenes"):
        maps, texts, relevance = context.pool.evaluation(task.test)
        embedding = context.backbone.encode_sentence([task.description])[0]
        setting = Setting(repository, generator, router.route(task.description, embedding), 0)
        said = asdict(setting.confidence) if setting.confidence else {}
        for method in SHOWN:
            found = measure(context.backbone.suffix(maps, METHODS[method](setting)), texts, relevance)
            more = {"confidence": said} if method in (FULL, OURS) and said else {}
            rows.append({"task": task.name, "group": task.group, "method": method, "seed": 0, **found, **more})
        context.log(f"{task.name}: done")
    return {"experts": len(seen), "domains": by_domain(rows), "calibration": calibration(rows), "rows": rows}


def by_domain(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """For each domain, means over its tasks: gain of each method over zero-shot in R@1 and R@5, and what the confidence said.

    Returns:
        {"domain": {"tasks", "gains": {method: {"R@1", "R@5"}}, "probability", "strength"}}
    """
    found: dict[str, Any] = {}
    for domain in sorted({r["group"] for r in rows}):
        own = [r for r in rows if r["group"] == domain]
        mean = {
            (m, k): float(np.mean([(r["i2t"][k] + r["t2i"][k]) / 2 for r in own if r["method"] == m]))
            for m in SHOWN
            for k in ("R@1", "R@5")
        }
        gains = {m: {k: mean[m, k] - mean["zero-shot", k] for k in ("R@1", "R@5")} for m in SHOWN if m != "zero-shot"}
        said = [r["confidence"] for r in own if r["method"] == OURS and "confidence" in r]
        found[domain] = {
            "tasks": sum(r["method"] == OURS for r in own),
            "gains": gains,
            **{k: float(np.mean([s[k] for s in said])) if said else None for k in ("probability", "strength")},
        }
    return found


def findings(result: Mapping[str, Any]) -> list[str]:
    """Losses at full strength and with the confidence."""
    domains = result["domains"]
    said = []
    for method, name in ((FULL, "in full"), (OURS, "as the confidence allows")):
        gains = {d: v["gains"][method]["R@5"] for d, v in domains.items()}
        lost = [f"{d} ({g:+.1f})" for d, g in sorted(gains.items(), key=lambda x: x[1]) if g < -MOST]
        interval = markdown.difference(bootstrap_interval(list(gains.values())))
        said.append(
            f"Applied {name}, a LoRA from {result['experts']} experts of everyday scenes changes R@5 by {interval} over "
            f"{len(gains)} domains; "
            + (f"more than {MOST:g} is lost in {markdown.listed(lost)}." if lost else f"no domain loses more than {MOST:g}.")
        )
    kept = [d for d, v in domains.items() if v["strength"] == 0]
    if kept:
        said.append(f"The confidence recommends zero-shot for all tasks of {markdown.listed(kept)}.")
    return said


def table(result: Mapping[str, Any]) -> str:
    """One line a domain."""
    rows = []
    for domain, v in result["domains"].items():
        shown = [f"{v['gains'][m]['R@1']:+.1f} / {v['gains'][m]['R@5']:+.1f}" for m in SHOWN if m != "zero-shot"]
        rows.append([domain, str(v["tasks"]), *shown, f"{100 * v['probability']:.0f} %", f"{v['strength']:.2f}"])
    head = [
        "domain",
        "tasks",
        "top-k merge, R@1 / R@5",
        "SG-LoRA in full",
        "as the confidence allows",
        "chance of a gain",
        "strength",
    ]
    return markdown.table(head, rows)


def plot(result: Mapping[str, Any]) -> Figure:
    """Change of R@5 in every domain, in full and as the confidence allows."""
    figure, (panel,) = figures.panels(1, 4.2, grid="x")
    names = list(result["domains"])[::-1]
    for shift, method, colour, label in (
        (0.18, FULL, figures.SECOND, "in full"),
        (-0.18, OURS, figures.ACCENT, "as the confidence allows"),
    ):
        values = [result["domains"][d]["gains"][method]["R@5"] for d in names]
        panel.barh([i + shift for i in range(len(names))], values, 0.34, color=colour, label=label)
    panel.axvline(0, color=figures.INK, linewidth=0.8)
    panel.set_yticks(range(len(names)), names)
    panel.set_title("R@5 gained with experts of everyday scenes")
    panel.legend(loc="lower left", bbox_to_anchor=(0, 1.06), ncols=2)
    return figure
