"""Methods measured on the same tasks: means, and differences paired by task."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from core.common import markdown
from core.common.metrics import bootstrap_interval, mean_of_ways

MEASURES = ("R@1", "R@5", "R@10")
Row = Mapping[str, Any]
Interval = list[float]


def both_ways(recalls: Mapping[str, Any]) -> dict[str, float]:
    """Recalls of ``core.common.metrics.measure`` as means of both directions: {"R@1": …, "R@5": …, "R@10": …}."""
    return {m: round(mean_of_ways(recalls, m), 3) for m in MEASURES}


def grouped(rows: Iterable[Row], key: str) -> dict[str, list[Row]]:
    groups = defaultdict[str, list[Row]](list)
    for row in rows:
        groups[row[key]].append(row)
    return groups


def by_task(rows: Iterable[Row], variant: str, measure: str) -> dict[str, float]:
    """A variant's figure for each task; the mean over several rows of one task (seeds, draws)."""
    tasks = grouped((row for row in rows if row["variant"] == variant), "task")
    return {task: float(np.mean([row[measure] for row in own])) for task, own in tasks.items()}


def difference(rows: Sequence[Row], variant: str, other: str, measure: str) -> Interval:
    """``variant`` minus ``other``, with a 95 % bootstrap interval over the tasks of both."""
    a, b = by_task(rows, variant, measure), by_task(rows, other, measure)
    return interval([a[t] - b[t] for t in sorted(a.keys() & b.keys())])


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % bootstrap interval [mean, low, high], rounded for results."""
    return [round(v, 2) for v in bootstrap_interval(values)]


def mean(rows: Sequence[Row], variant: str, measure: str) -> float:
    return round(float(np.mean(list(by_task(rows, variant, measure).values()))), 2)


def summary(rows: Sequence[Row], ours: str, measures: Sequence[str] = MEASURES) -> dict[str, Any]:
    """The means of each method in each group, and ``ours`` minus the method with 95 % intervals, paired by task.

    ``rows``: {"group", "task", "variant", and the measures}.
    """

    def method(own: Sequence[Row], name: str) -> dict[str, Any]:
        less = None if name == ours else {m: difference(own, ours, name, m) for m in measures}
        return {"mean": {m: mean(own, name, m) for m in measures}, "ours minus it": less}

    return {
        group: {"tasks": len(grouped(own, "task")), "methods": {name: method(own, name) for name in grouped(own, "variant")}}
        for group, own in grouped(rows, "group").items()
    }


def summary_table(groups: Mapping[str, Any]) -> str:
    """The result of ``summary`` in Markdown, one table per group; differences of the first two measures."""
    parts = []
    for group, content in groups.items():
        ours = next(method for method, values in content["methods"].items() if values["ours minus it"] is None)
        measures, rows = list(content["methods"][ours]["mean"]), []
        for method, values in content["methods"].items():
            means = " / ".join(f"{values['mean'][m]:.1f}" for m in measures)
            differences = values["ours minus it"]
            shown = ["" if differences is None else markdown.difference(differences[m]) for m in measures[:2]]
            rows.append([f"**{method}**" if method == ours else method, means, *shown])
        head = ["", " / ".join(measures), f"{ours} minus it, {measures[0]}", *measures[1:2]]
        parts.append(f"{group} ({content['tasks']} task{'s' * (content['tasks'] > 1)})\n\n{markdown.table(head, rows)}")
    return "\n\n".join(parts)
