"""Figures of results, as SVG that is light on a light page and dark on a dark one."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Stand for the page's text colour and for a quiet tone of it; replaced when the figure is written.
INK, QUIET = "#010203", "#040506"
ACCENT, SECOND = "#2f855a", "#b7791f"
COLOURS = (ACCENT, SECOND, "#2b6cb0", "#c05621", "#805ad5", "#0e7490", "#b83280", "#718096")
WIDTH = 4.8  # inches: the text stays readable on a phone, where the figure is as wide as the screen
STYLE = Path(__file__).with_suffix(".mplstyle")
# The class keeps the style to the figure where a page takes the SVG in; there, the page's own style decides.
_ROOT = (
    ' class="figure" stroke-linejoin="round"><style>.figure{color:#1f2937}'
    "@media(prefers-color-scheme:dark){.figure{color:#e5e7eb}}</style>"
)
_HEAD = re.compile(r"\s*(<metadata>.*?</metadata>|<style.*?</style>)", re.DOTALL)


def panels(rows: int = 1, height: float = 3.0, grid: str = "y") -> tuple[Figure, list[Axes]]:
    """A figure with panels one above the other, ``height`` inches each; ``grid``: "x", "y" or "both"."""
    figure = Figure((WIDTH, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, squeeze=False)[:, 0])
    for panel in axes:
        panel.grid(axis=grid)
    return figure, axes


def intervals(axes: Axes, rows: Mapping[str, Sequence[float]], title: str) -> None:
    """Differences (mean, low, high) around a line at zero; those whose interval holds zero are drawn hollow and quiet."""
    places = np.arange(len(rows))[::-1]
    axes.axvline(0, color=INK, linewidth=0.8)
    for place, (mean, low, high) in zip(places, rows.values(), strict=True):
        sure = low > 0 or high < 0
        colour = (ACCENT if mean > 0 else COLOURS[3]) if sure else QUIET
        axes.plot([low, high], [place, place], color=colour, linewidth=2.5, solid_capstyle="round")
        axes.plot(mean, place, "o", color=colour, markerfacecolor=colour if sure else "none", markersize=6)
    axes.set_yticks(places, list(rows))
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.set_title(title)


def band(axes: Axes, x: Sequence[float], rows: Sequence[Sequence[float]], label: str, colour: str) -> None:
    """A line of means with the band of their intervals; ``rows`` holds (mean, low, high) for each x."""
    mean, low, high = np.array(rows, dtype=float).T
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(x, mean, "o-", color=colour, label=label, markersize=4)


def svg(plot: Callable[[Mapping[str, Any]], Figure], result: Mapping[str, Any]) -> str:
    """A result's plot as an SVG document: the same result gives the same text."""
    out = io.StringIO()
    with rc_context(fname=STYLE):
        plot(result).savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = _HEAD.sub("", out.getvalue()).replace(INK, "currentColor").replace(QUIET, "#8a94a6")
    head, rest = text[text.index("<svg") :].split(">", 1)
    return head + _ROOT + rest
