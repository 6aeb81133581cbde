"""Figures of results, as SVG that follows the page's light or dark colours."""

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from core.experiments.composition import ALL, COVER, RANDOM, SIZES
from core.experiments.domains import EVERYDAY, MORE
from core.experiments.latent import SENTENCES
from core.experiments.runner import SEEDS

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


def composition(result: Mapping[str, Any]) -> Figure:
    figure, axes = panels(len(result["groups"]), 2.8)
    for panel, (group, content) in zip(axes, result["groups"].items(), strict=True):
        means = {name: v["mean"]["R@1"] for name, v in content["methods"].items()}
        for rule, colour in zip((RANDOM, COVER), COLOURS, strict=False):
            sizes = [s for s in SIZES if f"{rule} {s}" in means]
            panel.plot(sizes, [means[f"{rule} {s}"] for s in sizes], "o-", color=colour, label=rule, markersize=4)
        panel.axhline(means[ALL], color=INK, linewidth=0.8, linestyle="--", label=ALL)
        panel.set_xscale("log", base=2)
        panel.set_title(f"{group}: R@1 by number of experts")
    axes[0].legend(fontsize=8)
    return figure


def domains(result: Mapping[str, Any]) -> Figure:
    figure, (axes,) = panels(height=4.4, grid="x")
    places = np.arange(len(result["domains"]))[::-1]
    for variant, colour in {"zero-shot": QUIET, EVERYDAY: SECOND, MORE: ACCENT}.items():
        axes.plot([v["R@1"][variant] for v in result["domains"].values()], places, "o", color=colour, label=variant)
    axes.set_yticks(places, list(result["domains"]))
    axes.set_title("R@1 in percent, by domain")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def latent(result: Mapping[str, Any]) -> Figure:
    figure, (axes,) = panels(height=4.6, grid="both")
    counts = [len(SEEDS) * len(listed) for listed in SENTENCES.values()]
    parts = np.split(np.array(result["map"]), np.cumsum([*counts, sum(map(len, SENTENCES.values()))]))
    axes.plot(*parts[-1].T, "+", color=QUIET, label="experts")
    for number, (name, points) in enumerate(zip(SENTENCES, parts, strict=False)):
        again, colour = divmod(number, len(COLOURS))
        axes.plot(*points.T, "^" if again else "o", color=COLOURS[colour], markersize=3, label=name)
    axes.set_title("t-SNE of generated parameters, three seeds a sentence")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=7)
    return figure


PLOTS: Mapping[str, Callable[[Mapping[str, Any]], Figure]] = {"composition": composition, "domains": domains, "latent": latent}


def svg(experiment: str, result: Mapping[str, Any]) -> str:
    """The plot of an experiment's result as an SVG document; equal results give equal text."""
    out = io.StringIO()
    with rc_context(fname=STYLE):
        PLOTS[experiment](result).savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = _HEAD.sub("", out.getvalue()).replace(INK, "currentColor").replace(QUIET, "#8a94a6")
    head, rest = text[text.index("<svg") :].split(">", 1)
    return head + _ROOT + rest
