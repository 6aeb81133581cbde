"""Results as Markdown tables, as the README shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WAYS = ("i2t", "t2i")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def base(result: Mapping[str, Any]) -> str:
    """Zero-shot recall of the base."""
    rows = [
        [name, str(v["images"]), *(" / ".join(f"{v[way][k]:.1f}" for way in WAYS) for k in ("R@1", "R@5", "R@10"))]
        for name, v in result.items()
    ]
    return _table(["photos", "gallery", "R@1 (I2T / T2I)", "R@5", "R@10"], rows)


def verification(result: Mapping[str, Any]) -> str:
    """Shipped experts against zero-shot."""
    share = 100 * result["won"] / result["trained"]
    rows = [
        [name, str(v["experts"]), *(_difference(v["gain"][k]) for k in ("R@1", "R@5"))]
        for name, v in result.items()
        if isinstance(v, dict)
    ]
    table = _table(["experts", "shipped", "gain in R@1", "gain in R@5"], rows)
    head = f"{result['won']} of {result['trained']} experts ({share:.0f} %) beat zero-shot on their own task."
    return f"{head}\n\n{table}\n\n{experts(result)}"


def experts(result: Mapping[str, Any]) -> str:
    """Every shipped expert, before -> after."""
    rows = [
        [
            e["name"],
            e["description"],
            str(e["photos"]),
            *(f"{e[k][0]:.1f} → {e[k][1]:.1f}" for k in ("R@1", "R@5")),
            f"{e['measured_on']} photos",
        ]
        for e in result["experts"]
    ]
    return _table(["expert", "description", "photos", "R@1", "R@5", "measured on"], rows)


def generation(result: Mapping[str, Any]) -> str:
    """Every method on held-out tasks, and SG-LoRA's lead over it."""
    parts = []
    for group in ("all", "scenes", "special domains"):
        if group not in result:
            continue
        found = result[group]
        rows = []
        for method, means in found["means"].items():
            lead = found["sg-lora minus"].get(method)
            shown = [_difference(lead[k]) for k in ("R@1", "R@5")] if lead else ["", ""]
            name = f"**{method}**" if method == "sg-lora" else method
            rows.append([name, *(f"{means[k]:.1f}" for k in ("R@1", "R@5", "R@10")), *shown])
        head = ["method", "R@1", "R@5", "R@10", "SG-LoRA's lead, R@1", "R@5"]
        parts.append(f"{group}: {found['tasks']} held-out tasks\n\n{_table(head, rows)}")
    return "\n\n".join(parts)


def _difference(interval: Sequence[float]) -> str:
    mean, low, high = interval
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
