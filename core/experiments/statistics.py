"""Variants of one method, measured on the same held-out tasks: means, and differences that are paired by task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from core.common.metrics import bootstrap_interval
from core.sglora.generator import LoraGenerator
from core.sglora.repository import ExpertRepository

GROUPS = ("all", "scenes", "special domains")
MEASURES = ("R@1", "R@5", "mAP")
Row = Mapping[str, Any]
Interval = list[float]


def both_ways(found: Mapping[str, Any]) -> dict[str, float]:
    """What ``core.common.metrics.measure`` found, as means of both directions: {"R@1": …, "R@5": …, "mAP": …}."""
    return {m: round((found["i2t"][m] + found["t2i"][m]) / 2, 3) for m in MEASURES}


def in_group(row: Row, group: str) -> bool:
    """Whether a row's task belongs to one of GROUPS."""
    return group == "all" or (row["group"] == "scenes") == (group == "scenes")


def grouped(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Each of GROUPS that has tasks among these rows, with its rows."""
    for group in GROUPS:
        own = [r for r in rows if in_group(r, group)]
        if own:
            yield group, own


def by_task(rows: Sequence[Row], variant: str, measure: str) -> dict[str, float]:
    """A variant's figure for each task; several rows of one task (seeds, draws) are averaged."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["variant"] == variant:
            found.setdefault(row["task"], []).append(row[measure])
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


def identity(repository: ExpertRepository, generator: LoraGenerator | None = None) -> str:
    """A checksum of experts and generator, for the key of what was measured with them."""
    parts = [repository.means, repository.stds, repository.embeddings]
    if generator is not None:
        parts += [generator.basis.origin, generator.basis.components, *generator.cvae.state_dict().values()]
        if (how := generator.assembly) is not None:
            parts += [how.shared, torch.tensor([how.share, how.rank])]
    return hashlib.sha256(b"".join(p.detach().contiguous().numpy().tobytes() for p in parts)).hexdigest()[:16]
