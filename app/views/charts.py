"""The two charts, as HTML and CSS: crisp on every screen, readable without seeing, and dark where the page is dark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from app.views.template import macros

NEAR = 4  # experts that were not routed to, and are shown all the same
_html = macros("charts.html")


def routing_chart(bars: Sequence[tuple[str, float, float | None, str]]) -> Markup:
    """Routed experts with similarity and weight, and below them, greyed, all the others.

    ``bars``: name, similarity, weight (None where it was not routed to) and details of each expert, best first.
    """
    shown = NEAR + sum(weight is not None for _, _, weight, _ in bars)
    return _html.routing_chart(bars[:shown], bars[shown:])


_TEXT_HEAD = {"text.mlp.1": "text head, first layer", "text.mlp.3": "text head, second layer"}
_LAYER = re.compile(r"(\d+).*?\b([qkv])(?:_proj)?$")


def layer_name(name: str) -> str:
    """A readable form of a linear's dotted name, where it is one of a block's q, k and v, or of the shipped text head."""
    match = _LAYER.search(name)
    return f"block {match[1]}, {match[2]}" if match else _TEXT_HEAD.get(name, name)


@dataclass(frozen=True)
class HeatCell:
    """A layer's norm, that as a share of the largest, and the place in the experts' range, 0 to 1, where that is known."""

    norm: float
    heat: float
    place: float | None
    details: str


def heat_map(norms: Mapping[str, float], ranges: Mapping[str, tuple[float, float]]) -> Markup:
    """Strength of a LoRA per block (rows) and q, k, v (columns), or per linear, each against the experts' range."""
    rows: dict[str, dict[str, HeatCell]] = {}
    top = max([*norms.values(), *(high for _, high in ranges.values()), 1e-9])
    for name, norm in norms.items():
        match = _LAYER.search(name)
        block, part = (f"block {match[1]}", match[2]) if match else (layer_name(name), "")
        rows.setdefault(block, {})[part] = _heat_cell(name, norm, ranges.get(name), top)
    return _html.heat_map(list(dict.fromkeys(part for row in rows.values() for part in row)), rows)


def _heat_cell(name: str, norm: float, span: tuple[float, float] | None, top: float) -> HeatCell:
    details = f"{name}: {norm:.3f}"
    if span is None:
        return HeatCell(norm, norm / top, None, details)
    low, high = span
    place = 0.5 if high <= low else min(1.0, max(0.0, (norm - low) / (high - low)))
    return HeatCell(norm, norm / top, place, f"{details} (experts {low:.3f} to {high:.3f})")
