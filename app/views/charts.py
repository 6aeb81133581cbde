"""The two charts, as HTML and CSS: crisp on every screen, readable without seeing, and dark where the page is dark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from app import texts


@dataclass(frozen=True)
class RoutingBar:
    """One expert in the routing chart; ``weight`` is None where it was not routed to."""

    name: str
    similarity: float
    weight: float | None
    details: str


def routing_chart(bars: Sequence[RoutingBar]) -> str:
    """Routed experts with similarity and weight, and below them, greyed, all the others. Best first."""
    routed = [b for b in bars if b.weight is not None]
    others = [b for b in bars if b.weight is None]
    rows = "".join(_bar(b) for b in routed)
    near = "".join(_bar(b) for b in others[:4])
    far = "".join(_bar(b) for b in others[4:])
    head = (
        f'<li class="sg-bar sg-bar-head" aria-hidden="true"><span></span>'
        f"<span>{texts.SIMILARITY}</span><span></span><span>{texts.WEIGHT}</span></li>"
    )
    chart = f'<ol class="sg-bars" aria-label="{texts.ROUTED}">{head}{rows}{near}</ol>'
    if far:
        summary = texts.OTHERS.format(n=len(others) - 4)
        rest = f'<ol class="sg-bars" tabindex="0" aria-label="{summary}">{far}</ol>'
        chart += f'<details class="sg-others"><summary>{summary}</summary>{rest}</details>'
    return chart


def _bar(bar: RoutingBar) -> str:
    width = max(0.0, min(1.0, bar.similarity)) * 100
    weight = "" if bar.weight is None else f"{bar.weight * 100:.0f} %"
    kind = "sg-bar" if bar.weight is not None else "sg-bar sg-bar-off"
    share = 0.0 if bar.weight is None else bar.weight * 100
    return (
        f'<li class="{kind}" title="{escape(bar.details)}"><span class="sg-bar-name">{escape(bar.name)}</span>'
        f'<span class="sg-track"><i style="width:{width:.1f}%"></i></span>'
        f'<span class="sg-number">{bar.similarity:.2f}</span>'
        f'<span class="sg-weight"><i style="width:{share:.1f}%"></i><b>{weight}</b></span></li>'
    )


_TEXT_HEAD = {"text.mlp.1": "text head, first layer", "text.mlp.3": "text head, second layer"}
_LAYER = re.compile(r"(\d+).*?\b([qkv])(?:_proj)?$")


def layer_name(name: str) -> str:
    """A linear's dotted name in words, where it is one of a block's q, k and v, or of the shipped text head."""
    match = _LAYER.search(name)
    return f"block {match[1]}, {match[2]}" if match else _TEXT_HEAD.get(name, name)


def heat_map(norms: Mapping[str, float], ranges: Mapping[str, tuple[float, float]]) -> str:
    """Strength of a LoRA per block (rows) and q, k, v (columns), or per linear, each against the experts' range."""
    cells: dict[str, dict[str, str]] = {}
    top = max([*norms.values(), *(high for _, high in ranges.values()), 1e-9])
    for name, norm in norms.items():
        match = _LAYER.search(name)
        block, part = (f"block {match[1]}", match[2]) if match else (layer_name(name), "")
        cells.setdefault(block, {})[part] = _cell(name, norm, ranges.get(name), top)
    parts = list(dict.fromkeys(part for row in cells.values() for part in row))
    head = "".join(f'<th scope="col">{escape(p)}</th>' for p in parts)
    body = "".join(
        f'<tr><th scope="row">{escape(block)}</th>{"".join(row.get(p, "<td></td>") for p in parts)}</tr>'
        for block, row in cells.items()
    )
    return (
        f'<table class="sg-heat"><caption>{texts.HEAT_TITLE}<small>{texts.HEAT_NOTE}</small></caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cell(name: str, norm: float, span: tuple[float, float] | None, top: float) -> str:
    title, mark = f"{name}: {norm:.3f}", ""
    if span is not None:
        low, high = span
        title += f" (experts {low:.3f} to {high:.3f})"
        place = 0.5 if high <= low else min(1.0, max(0.0, (norm - low) / (high - low)))
        mark = f'<span class="sg-mark" aria-hidden="true"><i style="left:{place * 100:.0f}%"></i></span>'
    return f'<td style="--heat:{norm / top:.2f}" title="{escape(title)}">{norm:.2f}{mark}</td>'
