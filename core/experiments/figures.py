"""Figures of results, as SVG that follows the page's light or dark colours."""

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

# Placeholders for the page's text colour and a quiet grey; ``svg`` replaces them.
INK, QUIET = "#010203", "#040506"
ACCENT, SECOND = "#2f855a", "#b7791f"
COLOURS = (ACCENT, SECOND, "#2b6cb0", "#c05621", "#805ad5", "#0e7490", "#b83280", "#718096")
WIDTH = 4.8  # inches; text stays readable at the width of a phone's screen
STYLE = Path(__file__).with_suffix(".mplstyle")
# The class limits the style to the figure if a page inlines the SVG; then the page's own style decides.
_ROOT = (
    ' class="figure" stroke-linejoin="round"><style>.figure{color:#1f2937}'
    "@media(prefers-color-scheme:dark){.figure{color:#e5e7eb}}</style>"
)
_HEAD = re.compile(r"\s*(<metadata>.*?</metadata>|<style.*?</style>)", re.DOTALL)


def panels(rows: int = 1, height: float = 3.0, grid: str = "y") -> tuple[Figure, list[Axes]]:
    """A figure with ``rows`` panels one above the other, ``height`` inches each; ``grid``: "x", "y" or "both"."""
    figure = Figure((WIDTH, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, squeeze=False)[:, 0])
    for panel in axes:
        panel.grid(axis=grid)
    return figure, axes


def intervals(axes: Axes, rows: Mapping[str, Sequence[float]], title: str) -> None:
    """Draw differences (mean, low, high) around a line at zero; hollow and grey if the interval contains zero."""
    positions = np.arange(len(rows))[::-1]
    axes.axvline(0, color=INK, linewidth=0.8)
    for y, (mean, low, high) in zip(positions, rows.values(), strict=True):
        sure = low > 0 or high < 0
        colour = (ACCENT if mean > 0 else COLOURS[3]) if sure else QUIET
        axes.plot([low, high], [y, y], color=colour, linewidth=2.5, solid_capstyle="round")
        axes.plot(mean, y, "o", color=colour, markerfacecolor=colour if sure else "none", markersize=6)
    axes.set_yticks(positions, list(rows))
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.set_title(title)


def band(axes: Axes, x: Sequence[float], rows: Sequence[Sequence[float]], label: str, colour: str) -> None:
    """Draw a line of means with a band of their intervals; ``rows``: (mean, low, high) for each x."""
    mean, low, high = np.array(rows, dtype=float).T
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(x, mean, "o-", color=colour, label=label, markersize=4)


def svg(plot: Callable[[Mapping[str, Any]], Figure], result: Mapping[str, Any]) -> str:
    """A result's plot as an SVG document; equal results give equal text."""
    out = io.StringIO()
    with rc_context(fname=STYLE):
        plot(result).savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = _HEAD.sub("", out.getvalue()).replace(INK, "currentColor").replace(QUIET, "#8a94a6")
    head, rest = text[text.index("<svg") :].split(">", 1)
    return head + _ROOT + rest
