"""Figures of results, as SVG that follows the page's light or dark colours."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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


def svg(plot: Callable[[Mapping[str, Any]], Figure], result: Mapping[str, Any]) -> str:
    """A result's plot as an SVG document; equal results give equal text."""
    out = io.StringIO()
    with rc_context(fname=STYLE):
        plot(result).savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = _HEAD.sub("", out.getvalue()).replace(INK, "currentColor").replace(QUIET, "#8a94a6")
    head, rest = text[text.index("<svg") :].split(">", 1)
    return head + _ROOT + rest
