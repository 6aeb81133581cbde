"""The results of a question: columns of photos or captions, which of them moved, and recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from app import texts
from app.visitors.session import Album, Column, Comparison, Marked
from core.common.metrics import KS, recall_interval
from core.retrieval.gallery import Hit, Photo

FEW_PHOTOS = 50
WAITING = 12  # photos that are shown before the first question
FIRST = 10  # places that the sentence about recall speaks of


def comparison(
    result: Comparison, album: Album, top: int, only_changed: bool, marks: Mapping[str, bool] = {}, description: str = ""
) -> str:
    """The rankings side by side.

    Args:
        result: the question and its rankings. album: where the photos' files are.
        top: results in a column. only_changed: hide those that kept their place.
        marks: photos that the visitor marked as right or wrong. description: that the adapter was made from.
    """
    photos, first = {p.id: p for p in result.photos}, result.columns[0]
    changed = {key for column in result.columns[1:] for key, places in column.moves.items() if places}
    only_changed = only_changed and len(result.columns) > 1
    columns = sorted(result.columns, key=lambda column: column.title == texts.MERGE)  # on demand, and last
    shown = "".join(_column(result, c, album, photos, top, changed if only_changed else None, marks) for c in columns)
    body = f'<div class="sg-columns" style="--columns:{len(columns)}">{shown}</div>'
    if only_changed and not changed:
        body = f'<p class="sg-note">{escape(texts.NO_CHANGE)}</p>'
    total = texts.RANKED.format(total=first.ranking.total)
    filtered = ' data-filtered="1"' if only_changed else ""
    return (
        f'<div class="sg-panel" data-question="{escape(result.asked.what)}" data-kind="{result.asked.kind}" '
        f'data-description="{escape(description)}"{filtered}>'
        f'<p class="sg-stale-note" role="status">{escape(texts.STALE)}</p>'
        f'<h3 aria-live="polite">{escape(result.title)} <small>{total}</small></h3>'
        f"{_subject(result, album, photos)}{_right_places(result)}{body}</div>"
    )


def waiting(album: Album) -> str:
    """Before the first question: what to do, and the first photos, if there are any."""
    photos = album.photos[:WAITING]
    words = texts.COMPARE_EMPTY if photos else texts.COMPARE_NO_PHOTOS
    cards = "".join(
        f'<li><img src="{address(album.thumbnail(p))}" alt="{escape(p.name)}" decoding="sync"></li>' for p in photos
    )
    return f'<p class="sg-note">{escape(words)}</p>' + (f'<ol class="sg-waiting">{cards}</ol>' if cards else "")


def marked(found: Marked) -> str:
    """What the visitor's own thumbs say."""
    if not found.photos:
        return ""
    counts = [f"{title} {count}" for title, count in found.among_ten.items()]
    words = texts.MARKED.format(n=found.photos, questions=found.questions, counts=" → ".join(counts))
    return f'<p class="sg-note" role="status">{escape(words)}</p>'


def address(path: Path) -> str:
    """Where a browser finds a file of the visitor's; relative, as the app may be served below a path."""
    return f"gradio_api/file={quote(str(path))}"


def _column(
    result: Comparison,
    column: Column,
    album: Album,
    photos: Mapping[str, Photo],
    top: int,
    only: set[str] | None,
    marks: Mapping[str, bool],
) -> str:
    """One ranking; right answers that are further down come after the first ones."""
    hits = [h for h in column.ranking.hits if only is None or h.key in only]
    hits = [h for place, h in enumerate(hits) if place < top or h.key in result.right]
    cards = ""
    for place, hit in enumerate(hits):
        picture = ""
        if result.of == "photos":
            photo = photos.get(hit.key)
            picture = "" if photo is None else _picture(hit, photo, album, tab=place == 0)
        cards += _card(hit, column.moves.get(hit.key), picture, hit.key in result.right, marks.get(hit.key))
    return (
        f'<section class="sg-column" data-title="{escape(column.title)}" aria-label="{escape(column.title)}">'
        f"<h4>{escape(column.title)}<small>{escape(column.note)}</small></h4>"
        f'<ol class="sg-hits sg-{result.of}">{cards}</ol></section>'
    )


def _card(hit: Hit, moved: int | None, picture: str, right: bool, mark: bool | None) -> str:
    kind = "sg-hit sg-right" if right else "sg-hit"
    thumbs = _thumb("up", "✓", texts.MARK_RIGHT, mark is True) + _thumb("down", "✕", texts.MARK_WRONG, mark is False)
    came_from = "" if moved is None else f' data-from="{hit.rank + moved}"'
    name = escape(hit.label)
    return (
        f'<li class="{kind}" data-key="{hit.key}" data-rank="{hit.rank}"{came_from}>{picture}'
        f'<span class="sg-rank">{hit.rank}</span><span class="sg-what"><span class="sg-label" title="{name}">{name}</span>'
        f'<span class="sg-score">{hit.score:.3f}</span></span>{_arrow(moved)}'
        f"{f'<span class=sg-thumbs>{thumbs}</span>' if picture else ''}</li>"
    )


def _picture(hit: Hit, photo: Photo, album: Album, tab: bool) -> str:
    small, full = address(album.thumbnail(photo)), address(album.original(photo))
    name = escape(photo.name)
    return (
        f'<button type="button" class="sg-open" tabindex="{0 if tab else -1}" aria-label="{name}, {hit.rank}" '
        f'aria-keyshortcuts="+ -"><img src="{small}" data-full="{full}" alt="{name}" decoding="sync"></button>'
    )


def _thumb(value: str, sign: str, words: str, pressed: bool) -> str:
    return (
        f'<button type="button" tabindex="-1" data-mark="{value}" aria-pressed="{str(pressed).lower()}" '
        f'aria-label="{words}" title="{words}">{sign}</button>'
    )


def _arrow(places: int | None) -> str:
    if places is None:
        return '<span class="sg-move"></span>'
    if places == 0:
        return f'<span class="sg-move" role="img" aria-label="{texts.DID_NOT_MOVE}">=</span>'
    kind, sign, words = ("sg-up", "▲", texts.MOVED_UP) if places > 0 else ("sg-down", "▼", texts.MOVED_DOWN)
    n = abs(places)
    words = words.format(n=n, places=texts.PLACE if n == 1 else texts.PLACES)
    return f'<span class="sg-move {kind}" role="img" aria-label="{words}" title="{words}">{sign} {n}</span>'


def _subject(result: Comparison, album: Album, photos: Mapping[str, Photo]) -> str:
    """The photo that was asked about, and its own captions."""
    photo = photos.get(result.asked.what) if result.asked.kind == "photo" else None
    if photo is None:
        return ""
    captions = "".join(f"<li>{escape(caption)}</li>" for caption in photo.captions)
    picture = f'<img src="{address(album.thumbnail(photo))}" alt="{escape(photo.name)}">'
    return f'<div class="sg-subject">{picture}<ul>{captions}</ul></div>'


def _right_places(result: Comparison) -> str:
    """Where the right answer is in each column, as far as captions say which one that is."""
    if not result.right:
        return ""
    rankings = [column.ranking.hits for column in result.columns if column.title != texts.MERGE]
    best = [next((hit.rank for hit in hits if hit.key in result.right), len(hits) + 1) for hits in rankings]
    known = [str(rank) if rank <= len(hits) else f"> {len(hits)}" for rank, hits in zip(best, rankings, strict=True)]
    if all(rank > len(hits) for rank, hits in zip(best, rankings, strict=True)):
        return ""
    words = texts.RIGHT_PHOTO if result.of == "photos" else texts.RIGHT_CAPTION
    kind = "sg-up" if best[-1] < best[0] else "sg-down" if best[-1] > best[0] else ""
    places = f'<b class="{kind}">{escape(" → ".join(known))}</b>'
    return f'<p class="sg-right-places"><i aria-hidden="true"></i>{words.format(places=places)}</p>'


def recalls(result: Comparison | None) -> str:
    """One sentence, and folded below it every column's recall with its interval and its lead over zero-shot."""
    if result is None or not all(column.hits for column in result.columns):
        return ""
    columns = [(column, column.hits) for column in result.columns if column.hits]
    ways = (("t2i", texts.T2I), ("i2t", texts.I2T))
    heads = "".join(f'<th scope="colgroup" colspan="{len(KS)}">{words}</th>' for _, words in ways)
    each = "".join(f'<th scope="col">R@{k}</th>' for k in KS) * len(ways)
    rows, (first, base) = [], columns[0]
    for column, hits in columns:
        cells = "".join(_share(recall_interval(hits[way], k)) for way, _ in ways for k in KS)
        rows.append(f'<tr><th scope="row">{escape(column.title)}</th>{cells}</tr>')
    for column, hits in columns[1:]:
        leads = [recall_interval(hits[way], k, base[way]) for way, _ in ways for k in KS]
        title = texts.RECALL_DIFFERENCE.format(name=column.title, base=first.title)
        rows.append(f'<tr class="sg-lead"><th scope="row">{escape(title)}</th>{"".join(map(_lead, leads))}</tr>')
    note = texts.RECALL_NOTE.format(
        photos=base["i2t"].total,
        captions=len(base["t2i"].places),
        caution=texts.RECALL_CAUTION if base["i2t"].total < FEW_PHOTOS else "",
    )
    places = [hits["t2i"].places for column, hits in columns if column.title != texts.MERGE]
    left_out = f'<p class="sg-note">{texts.LEFT_OUT.format(n=len(result.left_out))}</p>' if result.left_out else ""
    return (
        f'<div class="sg-panel"><p class="sg-summary">{_summary(places)}</p>{left_out}'
        f'<details class="sg-figures"><summary>{texts.RECALL_TITLE}</summary><p class="sg-note">{note}</p>'
        f'<div class="sg-scroll" tabindex="0" role="region" aria-label="{texts.RECALL_TITLE}">'
        f'<table class="sg-recall" aria-label="{texts.RECALL_TITLE}">'
        f"<thead><tr><td></td>{heads}</tr><tr><td></td>{each}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></details></div>"
    )


def _summary(places: Sequence) -> str:
    """Of how many captions the right photo is among the first ten, without and with the adapter."""
    counts = [int((of < FIRST).sum()) for of in places]
    return texts.RECALL_TOLD.format(counts=" → ".join(f"<b>{n}</b>" for n in counts), total=len(places[0]), first=FIRST)


def _share(interval: tuple[float, float, float]) -> str:
    mean, low, high = interval
    return f"<td><b>{mean:.0f}%</b><small>{low:.0f} to {high:.0f}</small></td>"


def _lead(interval: tuple[float, float, float]) -> str:
    mean, low, high = interval
    kind = "sg-up" if low > 0 else "sg-down" if high < 0 else "sg-same"
    return f'<td class="{kind}"><b>{mean:+.0f}</b><small>{low:+.0f} to {high:+.0f}</small></td>'
