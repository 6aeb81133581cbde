"""Do experts beat zero-shot on photos of their own task? This is the paper's first onboarding experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from core.experiments import figures
from core.experiments.context import ExperimentContext
from core.experts.recall_summary import findings, table, verify

__all__ = ["findings", "plot", "run", "table"]


def run(context: ExperimentContext) -> dict[str, Any]:
    """``verify`` of the shipped repository."""
    return verify(context.engine.repository)


def plot(result: Mapping[str, Any]) -> Figure:
    figure, (axes,) = figures.panels(height=4.4, grid="both")
    before, after = zip(*(e["R@1"] for e in result["experts"]), strict=True)
    axes.plot([0, 100], [0, 100], color=figures.INK, linewidth=0.8)
    axes.scatter(before, after, color=figures.ACCENT, alpha=0.7, s=24)
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="zero-shot, R@1 in percent", ylabel="with the expert")
    axes.set_title("Every shipped expert on its own task")
    return figure
