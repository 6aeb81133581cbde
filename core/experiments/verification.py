"""Do experts beat zero-shot on their own task's photos? (the paper's first onboarding experiment)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.experts import Expert, ExpertRepository
from core.metrics import bootstrap_interval

KS = (1, 5)


def run(repository: ExpertRepository) -> dict[str, Any]:
    """Summary of the before/after figures that training measured on photos that neither trained nor stopped an expert.

    Returns:
        ``trained`` and ``won`` (beat zero-shot in R@1 + R@5; only these are shipped), and for all, scenes and special
        domains the number of shipped experts and their mean gain in R@1 and R@5 with 95 % bootstrap intervals over
        experts, in points, mean of both directions; ``experts`` has a row for each.
    """
    measured = [e for e in repository.experts if e.measured]
    groups = {
        "all": measured,
        "scenes": [e for e in measured if e.group == "scenes"],
        "special domains": [e for e in measured if e.group != "scenes"],
    }
    result: dict[str, Any] = {"trained": repository.notes["tasks"], "won": repository.notes["won"]}
    for name, experts in groups.items():
        if experts:
            gains = {f"R@{k}": _interval([e.gain(k) for e in experts]) for k in KS}
            result[name] = {"experts": len(experts), "gain": gains}
    result["experts"] = [_row(e) for e in measured]
    return result


def _row(expert: Expert) -> dict[str, Any]:
    """One expert's recalls, mean of both directions, [before, after]."""
    row: dict[str, Any] = {"name": expert.name, "description": expert.description, "photos": expert.images}
    for k in KS:
        sides = (expert.before, expert.after)
        row[f"R@{k}"] = [round(sum(side[way][f"R@{k}"] for way in ("i2t", "t2i")) / 2, 2) for side in sides]
    return {**row, "measured_on": expert.after["images"]}


def _interval(values: Sequence[float]) -> list[float]:
    return [round(v, 2) for v in bootstrap_interval(values)]
