"""Methods measured on the same tasks: means, and differences that are paired by task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.common import markdown
from core.common.metrics import bootstrap_interval, mean_of_ways

MEASURES = ("R@1", "R@5", "R@10")
Row = Mapping[str, Any]
Interval = list[float]


def both_ways(found: Mapping[str, Any]) -> dict[str, float]:
    """What ``core.common.metrics.measure`` found, as means of both directions: {"R@1": …, "R@5": …, "R@10": …}."""
    return {m: round(mean_of_ways(found, m), 3) for m in MEASURES}


def by_task(rows: Sequence[Row], variant: str, measure: str) -> dict[str, float]:
    """A variant's figure for each task; several rows of one task (seeds, draws) are averaged."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["variant"] == variant:
            found[row["task"]].append(row[measure])
    return {task: float(np.mean(values)) for task, values in found.items()}


def difference(rows: Sequence[Row], variant: str, other: str, measure: str) -> Interval:
    """``variant`` minus ``other`` with its 95 % bootstrap interval over the tasks that both were measured on."""
    a, b = by_task(rows, variant, measure), by_task(rows, other, measure)
    return interval([a[t] - b[t] for t in sorted(a.keys() & b.keys())])


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % bootstrap interval, [mean, low, high], as results keep them."""
    return [round(v, 2) for v in bootstrap_interval(values)]


def mean(rows: Sequence[Row], variant: str, measure: str) -> float:
    """A variant's mean over tasks."""
    return round(float(np.mean(list(by_task(rows, variant, measure).values()))), 2)


def summary(rows: Sequence[Row], groups: Sequence[str], ours: str) -> dict[str, Any]:
    """For each group that has rows {"group", "task", "variant", "R@1", "R@5", "R@10"}, and each method: the means, and ``ours``
    minus the method with 95 % intervals, paired by task."""
    found: dict[str, Any] = {}
    for group in groups:
        own = [r for r in rows if r["group"] == group]
        if not own:
            continue
        methods = list(dict.fromkeys(r["variant"] for r in own))
        found[group] = {
            "tasks": len({r["task"] for r in own}),
            "methods": {
                method: {
                    "mean": {m: mean(own, method, m) for m in MEASURES},
                    "ours minus it": None if method == ours else {m: difference(own, ours, method, m) for m in MEASURES},
                }
                for method in methods
            },
        }
    return found


def summary_table(found: Mapping[str, Any], ours: str) -> str:
    """``summary`` in Markdown, a table a group."""
    parts = []
    for group, content in found.items():
        rows = []
        for method, values in content["methods"].items():
            means = " / ".join(f"{values['mean'][m]:.1f}" for m in MEASURES)
            differences = values["ours minus it"]
            shown = ["", ""] if differences is None else [markdown.difference(differences[m]) for m in ("R@1", "R@5")]
            rows.append([f"**{method}**" if method == ours else method, means, *shown])
        head = ["", "R@1 / R@5 / R@10", f"{ours} minus it, R@1", "R@5"]
        number = content["tasks"]
        parts.append(f"{group} ({number} task{'s' if number > 1 else ''})\n\n{markdown.table(head, rows)}")
    return "\n\n".join(parts)
