"""Experts on a plane, as HTML and CSS like the other charts: text keeps its size on a phone, colours follow the theme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

# Labels are placed for a map of this size in pixels, a phone's; on a wider one they have more room than they need.
WIDTH, HEIGHT = 320, 230
LETTER, LINE = 6.4, 15
MARGIN = 0.07


@dataclass(frozen=True)
class Mark:
    """One point of a map.

    Attributes:
        name: its label. x, y: where it is, in any unit.
        kind: "off" (small and grey), "own", "routed", "prior" or "here".
        details: shown on hover.
        labelled: whether the label is always there.
    """

    name: str
    x: float
    y: float
    kind: str
    details: str
    labelled: bool = False


def scatter(title: str, summary: str, marks: Sequence[Mark], note: str = "") -> str:
    """A map of marks; later ones lie on top. ``summary`` says in words what is to be seen."""
    places = _places(marks)
    taken: list[tuple[float, float, float, float]] = [(x - 6, y - 6, x + 6, y + 6) for m, (x, y) in _pairs(marks, places)]
    dots, labels = [], []
    for mark, (x, y) in zip(marks, places, strict=True):
        left, top = x / WIDTH * 100, y / HEIGHT * 100
        side = f"{'sg-tip-left' if left > 50 else ''} {'sg-tip-up' if top > 60 else ''}"
        dots.append(
            f'<span class="sg-dot sg-dot-{mark.kind} {side}" style="left:{left:.1f}%;top:{top:.1f}%" '
            f'data-name="{escape(mark.name)}" data-tip="{escape(mark.details)}"></span>'
        )
        if mark.labelled:
            anchor, dx, dy = _free(mark.name, x, y, taken)
            labels.append(
                f'<span class="sg-dot-label sg-dot-label-{mark.kind}" style="left:calc({left:.1f}% + {dx}px);'
                f'top:calc({top:.1f}% + {dy}px);transform:translate({anchor}%,-50%)">{escape(_short(mark.name))}</span>'
            )
    said = f'<p class="sg-note">{escape(note)}</p>' if note else ""
    return (
        f'<figure class="sg-panel sg-map-panel"><figcaption>{escape(title)}</figcaption>'
        f'<div class="sg-map" role="img" aria-label="{escape(summary)}">{"".join(labels)}{"".join(dots)}</div>{said}</figure>'
    )


def _pairs(marks: Sequence[Mark], places: Sequence[tuple[float, float]]) -> list[tuple[Mark, tuple[float, float]]]:
    return [(m, p) for m, p in zip(marks, places, strict=True) if m.labelled]


def _places(marks: Sequence[Mark]) -> list[tuple[float, float]]:
    """Positions in a map of WIDTH x HEIGHT; both axes in one scale, so that distances are what they look like."""
    xs, ys = [m.x for m in marks], [m.y for m in marks]
    spans = max(max(xs) - min(xs), 1e-9), max(max(ys) - min(ys), 1e-9)
    scale = min(WIDTH / spans[0], HEIGHT / spans[1]) * (1 - 2 * MARGIN)
    middle = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    return [(WIDTH / 2 + (m.x - middle[0]) * scale, HEIGHT / 2 - (m.y - middle[1]) * scale) for m in marks]


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"


def _free(name: str, x: float, y: float, taken: list[tuple[float, float, float, float]]) -> tuple[int, int, int]:
    """Where a label covers no other: its anchor in percent of its width, and its offset in pixels."""
    wide = len(_short(name)) * LETTER + 6
    candidates = [(anchor, dx, dy) for dy in (0, -14, 14, -28, 28, -42, 42) for anchor, dx in ((0, 9), (-100, -9), (-50, 0))]
    best, fewest = candidates[0], float("inf")
    for anchor, dx, dy in candidates:
        if anchor == -50 and abs(dy) < 14:
            continue
        left, top = x + dx + wide * anchor / 100, y + dy - LINE / 2
        box = (left, top, left + wide, top + LINE)
        outside = box[0] < 0 or box[2] > WIDTH or box[1] < 0 or box[3] > HEIGHT
        hit = sum(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken) + 3 * outside
        if hit < fewest:
            best, fewest, chosen = (anchor, dx, dy), hit, box
        if not hit:
            break
    taken.append(chosen)
    return best
