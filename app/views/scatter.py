"""Experts on a plane, in HTML and CSS like the other charts: text keeps its size on a phone, colours follow the theme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from app.views.template import macros

# Labels are placed for a map of this size in pixels, as on a phone. A wider map leaves them more room.
WIDTH, HEIGHT = 320, 230
LETTER, LINE = 6.4, 15
MARGIN = 0.07
Box = tuple[float, float, float, float]  # left, top, right, bottom
_html = macros("scatter.html")


@dataclass(frozen=True)
class Mark:
    """One point of a map."""

    name: str  # its label
    x: float  # in any unit, as y
    y: float
    kind: str  # "off" (small and grey), "own", "routed" or "here"
    details: str  # shown on hover
    labelled: bool = False  # the label always shows, not only on hover


def scatter(title: str, summary: str, marks: Sequence[Mark], note: str) -> Markup:
    """A map of marks; later ones lie on top. ``summary`` describes it for screen readers."""
    places = list(zip(marks, _places(marks), strict=True))
    taken = [(x - 6, y - 6, x + 6, y + 6) for mark, (x, y) in places if mark.labelled]
    dots = [(mark, x / WIDTH * 100, y / HEIGHT * 100) for mark, (x, y) in places]
    labels = [
        (mark.kind, _short(mark.name), x / WIDTH * 100, y / HEIGHT * 100, *_free(mark.name, x, y, taken))
        for mark, (x, y) in places
        if mark.labelled
    ]
    return _html.scatter(title, summary, dots, labels, note)


def _places(marks: Sequence[Mark]) -> list[tuple[float, float]]:
    """Positions in a map of WIDTH x HEIGHT. Both axes have one scale, so that distances are true."""
    xs, ys = [m.x for m in marks], [m.y for m in marks]
    spans = max(max(xs) - min(xs), 1e-9), max(max(ys) - min(ys), 1e-9)
    scale = min(WIDTH / spans[0], HEIGHT / spans[1]) * (1 - 2 * MARGIN)
    middle = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    return [(WIDTH / 2 + (m.x - middle[0]) * scale, HEIGHT / 2 - (m.y - middle[1]) * scale) for m in marks]


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"


def _free(name: str, x: float, y: float, taken: list[Box]) -> tuple[int, int, int]:
    """Where a label covers fewest others: its anchor (percent of its width) and offset (pixels). Its box joins ``taken``."""
    wide = len(_short(name)) * LETTER + 6

    def box(anchor: int, dx: int, dy: int) -> Box:
        left, top = x + dx + wide * anchor / 100, y + dy - LINE / 2
        return left, top, left + wide, top + LINE

    def covered(place: tuple[int, int, int]) -> int:
        left, top, right, bottom = box(*place)
        outside = left < 0 or right > WIDTH or top < 0 or bottom > HEIGHT
        return 3 * outside + sum(left < t[2] and t[0] < right and top < t[3] and t[1] < bottom for t in taken)

    candidates = [(anchor, dx, dy) for dy in (0, -14, 14, -28, 28, -42, 42) for anchor, dx in ((0, 9), (-100, -9), (-50, 0))]
    best = min((place for place in candidates if place[0] != -50 or place[2]), key=covered)
    taken.append(box(*best))
    return best
