"""The gains of experts on their own tasks, as numbers and sentences, for the card and the experiment."""

from collections.abc import Mapping
from typing import Any

from core.common import markdown
from core.common.metrics import bootstrap_interval, mean_of_ways
from core.experts.files import RepositoryIndex
from core.sglora.repository import ExpertRepository

KS = (1, 5)
GROUPS = ("all", "scenes", "special domains")


def verify(repository: ExpertRepository | RepositoryIndex) -> dict[str, Any]:
    """Summarise recall before and after, which training measured on photos that trained no expert.

    Returns a dictionary:
        trained, won: numbers of experts, and of those that beat zero-shot in R@1 + R@5.
        all, scenes, special domains: the number of experts, and their mean gain in R@1 and R@5 with 95 % bootstrap intervals
            over experts. In points, mean of both directions.
        experts: one row for each measured expert.
    """
    measured = [e for e in repository.experts if e.measured]
    groups = (measured, [e for e in measured if e.group == "scenes"], [e for e in measured if e.group != "scenes"])
    won = [e for e in measured if sum(e.gain(k) or 0.0 for k in KS) > 0]
    result: dict[str, Any] = {"trained": len(repository.experts), "won": len(won)}
    for name, experts in zip(GROUPS, groups, strict=True):
        if experts:
            gains = {k: bootstrap_interval([gain for e in experts if (gain := e.gain(k)) is not None]) for k in KS}
            rounded = {f"R@{k}": [round(value, 2) for value in interval] for k, interval in gains.items()}
            result[name] = {"experts": len(experts), "gain": rounded}
    result["experts"] = [
        {
            "name": e.name,
            "description": e.description,
            "photos": e.images,
            **{f"R@{k}": [round(mean_of_ways(side, f"R@{k}"), 2) for side in (e.before, e.after)] for k in KS},
            "measured_on": e.after["images"],
        }
        for e in measured
    ]
    return result


def findings(result: Mapping[str, Any]) -> list[str]:
    measured, gain = result["all"]["experts"], result["all"]["gain"]["R@1"]
    share = 100 * result["won"] / measured
    return [
        f"{result['won']} of {measured} experts ({share:.0f} %) beat zero-shot on new photos of their own topic.",
        f"They gain {markdown.difference(gain)} points of R@1 on average.",
    ]


def table(result: Mapping[str, Any]) -> str:
    groups = [
        [name, str(result[name]["experts"]), *(markdown.difference(result[name]["gain"][f"R@{k}"]) for k in KS)]
        for name in GROUPS
        if name in result
    ]
    experts = []
    for row in result["experts"]:
        recalls = [f"{before:.1f} → {after:.1f}" for before, after in (row[f"R@{k}"] for k in KS)]
        experts.append([row["name"], row["description"], str(row["photos"]), *recalls, f"{row['measured_on']} photos"])
    gains = markdown.table(["experts", "measured", "gain in R@1", "gain in R@5"], groups)
    return f"{gains}\n\n{markdown.table(['expert', 'description', 'photos', 'R@1', 'R@5', 'measured on'], experts)}"
