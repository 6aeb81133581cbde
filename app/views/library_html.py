"""The results of a question to a library: columns of thumbnails with the place of each."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from app import texts


@dataclass(frozen=True)
class LibraryHit:
    """One photo of a column: its file's name, its thumbnail (JPEG), its score, and how many places it moved, where known."""

    name: str
    thumbnail: bytes
    score: float
    moved: int | None


@dataclass(frozen=True)
class LibraryColumn:
    """One ranking: what it is called, what is remarkable about it, and the best photos, best first."""

    title: str
    note: str
    hits: tuple[LibraryHit, ...]


def columns(title: str, lead: str, found: Sequence[LibraryColumn]) -> str:
    """All rankings side by side."""
    shown = "".join(
        f'<section class="sg-column" aria-label="{escape(column.title)}">'
        f"<h4>{escape(column.title)}<small>{escape(column.note)}</small></h4>"
        f'<ol class="sg-hits sg-photos">{"".join(map(_card, range(1, len(column.hits) + 1), column.hits))}</ol></section>'
        for column in found
    )
    return (
        f'<div class="sg-panel"><h3 aria-live="polite">{escape(title)} <small>{escape(lead)}</small></h3>'
        f'<div class="sg-columns" style="--columns:{len(found)}">{shown}</div></div>'
    )


def _card(rank: int, hit: LibraryHit) -> str:
    name, picture = escape(hit.name), base64.b64encode(hit.thumbnail).decode("ascii")
    arrow = "" if not hit.moved else f" {'▲' if hit.moved > 0 else '▼'} {abs(hit.moved)}"
    words = texts.MOVED_UP if (hit.moved or 0) > 0 else texts.MOVED_DOWN
    places = texts.PLACE if abs(hit.moved or 0) == 1 else texts.PLACES
    said = words.format(n=abs(hit.moved), places=places) if hit.moved else ""
    return (
        f'<li class="sg-hit"><img src="data:image/jpeg;base64,{picture}" alt="{name}" loading="lazy">'
        f'<span class="sg-rank">{rank}</span><span class="sg-what"><span class="sg-label" title="{name}">{name}</span>'
        f'<span class="sg-score">{hit.score:.3f}</span></span>'
        f'<span class="sg-move" role="img" aria-label="{said}">{arrow}</span></li>'
    )
