"""What the page shows, as HTML. Everything that a visitor or a file wrote passes through ``escape``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

from app import texts
from app.views import confidence, experts_html
from app.views.charts import Bar, heat_map, routing_chart
from app.visitors.session import PHOTO_LIMIT, Column, Comparison
from core.common.metrics import KS, recall_interval
from core.retrieval.gallery import AddReport, Hit, Photo
from core.sglora.compare import LoraDistances
from core.sglora.engine import Adaptation, SGLora
from core.sglora.router import Routing

NAMED_FILES = 12  # a report names this many files of a kind and counts the rest
FEW_PHOTOS = 50


def note(text: str, kind: str = "") -> str:
    """A quiet line."""
    return f'<p class="sg-note {kind}">{escape(text)}</p>'


def step(number: int, title: str, lead: str) -> str:
    """The heading of one step of the story."""
    return f'<header class="sg-step"><h2><span>{number}</span> {escape(title)}</h2><p>{escape(lead)}</p></header>'


def section(title: str, lead: str) -> str:
    """A heading inside a tab."""
    return f'<header class="sg-section"><h2>{escape(title)}</h2><p class="sg-note">{escape(lead)}</p></header>'


def subsection(title: str, lead: str) -> str:
    """A heading below that."""
    return f'<header class="sg-section"><h3>{escape(title)}</h3><p class="sg-note">{escape(lead)}</p></header>'


def header() -> str:
    """Title and the one line that says what happens."""
    lines = f'<p>{escape(texts.TAGLINE)}</p><p class="sg-note">{texts.PAPER}</p>'
    return f'<header class="sg-header"><h1>{texts.TITLE}</h1>{lines}</header>'


def status(text: str, kind: str) -> str:
    """The state of the models; ``kind`` is "wait", "ready" or "failed"."""
    return f'<p class="sg-status sg-{kind}" role="status"><span aria-hidden="true"></span>{escape(text)}</p>'


def routing(engine: SGLora, result: Routing) -> str:
    """The routing in words and as a chart."""
    similarity = result.similarity.tolist()
    weights = dict(zip(result.chosen.tolist(), result.weights.tolist(), strict=True))
    order = sorted(range(len(similarity)), key=lambda i: (i not in weights, -similarity[i]))
    bars = []
    for i in order:
        expert = engine.repository.experts[i]
        bars.append(Bar(expert.name, similarity[i], weights.get(i), experts_html.details_line(expert)))
    named = [f"<b>{escape(engine.repository.experts[i].name)}</b> ({w * 100:.0f} %)" for i, w in list(weights.items())[:6]]
    if len(weights) > 6:
        named.append(f"{len(weights) - 6} more")
    found = engine.confidence(result)
    words = texts.ROUTE_WORDS if found is None or found.fits else texts.ROUTE_FAR
    certain = confidence.words(found, [engine.repository.experts[i].name for i in weights])
    return (
        f'<div class="sg-panel" aria-live="polite"><h3>{texts.ROUTED}</h3>'
        f"<p>{words.format(names=confidence.listed(named))}</p>{certain}{routing_chart(bars)}</div>"
    )


def adapter(
    result: Adaptation,
    ranges: Mapping[str, tuple[float, float]],
    size: int,
    current: str,
    distances: LoraDistances | None,
    follows: bool = False,
) -> str:
    """Facts about a generated LoRA, its strength by layer, and how far it is from the routed experts.

    Args:
        result: the adapter. ranges: the experts' strength by layer.
        size: bytes of its weights file. current: the description on the page now.
        distances: at strength 1; None leaves them out. follows: whether the strength follows the confidence.
    """
    description = result.routing.description
    remarks = note(texts.LORA_STALE.format(old=description), "sg-warn") if " ".join(current.split()) != description else ""
    remarks += "".join(note(line, "sg-warn") for line in _strength_remarks(result, follows))
    total = sum(result.seconds.values()) * 1000
    steps = "".join(
        f"<li>{escape(texts.STEPS.get(name, name))} <b>{seconds * 1000:.1f} ms</b></li>"
        for name, seconds in result.seconds.items()
    )
    facts = (
        ("parameters", f"{result.lora.parameters:,}"),
        ("size", f"{size / 1024:.1f} KB"),
        ("rank", f"{result.lora.rank}"),
        ("made in", f"{total:.0f} ms"),
        ("seed", f"{result.seed}"),
        ("strength", f"{result.strength:.2g}"),
    )
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    far = "" if distances is None else experts_html.distances(distances)
    return (
        f'<div class="sg-panel" aria-live="polite"><h3>{escape(texts.LORA_FOR.format(description=description))}</h3>{remarks}'
        f'<dl class="sg-facts">{cells}</dl><ul class="sg-steps">{steps}</ul>{heat_map(result.lora.norms(), ranges)}{far}</div>'
    )


def _strength_remarks(result: Adaptation, follows: bool) -> list[str]:
    """What a strength of 0 means, and a strength against the advice."""
    if result.strength == 0:
        return [texts.LORA_NOTHING + (f" {texts.LORA_TRY.format(follow=texts.FOLLOW_LABEL)}" if follows else "")]
    advised = 1.0 if result.confidence is None else result.confidence.strength
    return [texts.LORA_AGAINST] if advised == 0 else []


def report(added: AddReport | None, more_failed: Iterable[tuple[str, str]], extra: Sequence[str] = ()) -> str:
    """What became of an upload: counts, and duplicates and failures by name."""
    failed = [*(added.failed if added else ()), *more_failed]
    parts = []
    if added is not None:
        parts.append(f'<p class="sg-ok">{texts.ADDED.format(n=len(added.added))}</p>')
        if added.duplicates:
            parts.append(listed_files(texts.DUPLICATES.format(n=len(added.duplicates)), added.duplicates))
    if failed:
        lines = [reason if reason.startswith(name) else f"{name}: {reason}" for name, reason in failed]
        parts.append(listed_files(texts.FAILED_FILES.format(n=len(failed)), lines, "sg-warn"))
    parts += [f"<p>{escape(line)}</p>" for line in extra]
    return f'<div class="sg-report" role="status">{"".join(parts)}</div>'


def listed_files(title: str, lines: Sequence[str], kind: str = "") -> str:
    """A title and file names below it, of which not too many."""
    shown = "".join(f"<li>{escape(line)}</li>" for line in lines[:NAMED_FILES])
    if len(lines) > NAMED_FILES:
        shown += f"<li>… {len(lines) - NAMED_FILES} more</li>"
    return f'<div class="{kind}"><p>{escape(title)}</p><ul>{shown}</ul></div>'


def gallery_line(photos: Sequence[Photo]) -> str:
    """How full the gallery is."""
    if not photos:
        return note(texts.GALLERY_EMPTY)
    captioned = sum(bool(p.captions) for p in photos)
    return note(texts.PHOTOS_NOW.format(n=len(photos), limit=PHOTO_LIMIT, captioned=captioned))


def comparison(
    result: Comparison, photos: Mapping[str, Photo], picture: Callable[[Photo], str], top: int, only_changed: bool
) -> str:
    """The rankings side by side; ``picture`` gives the address of a photo's picture."""
    changed = {key for column in result.columns[1:] for key, places in column.moves.items() if places}
    if only_changed and not changed:
        return f'<div class="sg-panel">{note(texts.NO_CHANGE)}</div>'
    columns = []
    for column in result.columns:
        hits = [h for h in column.ranking.hits if not only_changed or h.key in changed][:top]
        cards = ""
        for hit in hits:
            photo = photos.get(hit.key) if result.of == "photos" else None
            cards += _card(hit, column.moves.get(hit.key), photo and (photo.name, picture(photo)))
        columns.append(
            f'<section class="sg-column" aria-label="{escape(column.title)}"><h4>{escape(column.title)}'
            f'<small>{escape(column.note)}</small></h4><ol class="sg-hits sg-{result.of}">{cards}</ol></section>'
        )
    total = texts.RANKED.format(total=result.columns[0].ranking.total)
    return (
        f'<div class="sg-panel" aria-live="polite"><h3>{escape(result.title)} <small>{total}</small></h3>'
        f'<div class="sg-columns" style="--columns:{len(columns)}">{"".join(columns)}</div>'
        f"{_recalls(result.columns, photos)}</div>"
    )


def _card(hit: Hit, places: int | None, photo: tuple[str, str] | None) -> str:
    image = "" if photo is None else f'<img src="{photo[1]}" alt="{escape(photo[0])}">'
    return (
        f'<li class="sg-hit" data-key="{hit.key}" data-rank="{hit.rank}"><span class="sg-rank">{hit.rank}</span>{image}'
        f'<span class="sg-what"><span class="sg-label" title="{escape(hit.label)}">{escape(hit.label)}</span>'
        f'<span class="sg-score">{hit.score:.3f}</span></span>{_arrow(places)}</li>'
    )


def _arrow(places: int | None) -> str:
    if places is None:
        return '<span class="sg-move"></span>'
    if places == 0:
        return '<span class="sg-move" role="img" aria-label="did not move">=</span>'
    kind, sign, word = ("sg-up", "▲", "up") if places > 0 else ("sg-down", "▼", "down")
    n = abs(places)
    words = f"moved {word} {n} {'place' if n == 1 else 'places'}"
    return f'<span class="sg-move {kind}" role="img" aria-label="{words}" title="{words}">{sign} {n}</span>'


def _recalls(columns: Sequence[Column], photos: Mapping[str, Photo]) -> str:
    """Recall of every column with its interval, and for adapted ones the paired difference to zero-shot."""
    hits = [column.hits for column in columns if column.hits]
    if len(hits) < len(columns):
        return ""
    captioned = [p for p in photos.values() if p.captions]
    ways = (("t2i", texts.T2I), ("i2t", texts.I2T))
    heads = "".join(f'<th scope="colgroup" colspan="{len(KS)}">{words}</th>' for _, words in ways)
    each = "".join(f'<th scope="col">R@{k}</th>' for k in KS) * len(ways)
    rows = []
    for column, own in zip(columns, hits, strict=True):
        cells = "".join(_share(recall_interval(own[way], k)) for way, _ in ways for k in KS)
        rows.append(f'<tr><th scope="row">{escape(column.title)}</th>{cells}</tr>')
    for column, own in list(zip(columns, hits, strict=True))[1:]:
        leads = [recall_interval(own[way], k, hits[0][way]) for way, _ in ways for k in KS]
        title = texts.RECALL_DIFFERENCE.format(name=column.title, base=columns[0].title)
        rows.append(f'<tr class="sg-lead"><th scope="row">{escape(title)}</th>{"".join(map(_lead, leads))}</tr>')
    words = texts.RECALL_NOTE.format(
        photos=len(captioned),
        captions=len({c for p in captioned for c in p.captions}),
        caution=texts.RECALL_CAUTION if len(captioned) < FEW_PHOTOS else "",
    )
    return (
        f'<h4 class="sg-sub">{texts.RECALL_TITLE}<small>{words}</small></h4>'
        f'<div class="sg-scroll" tabindex="0" role="region" aria-label="{texts.RECALL_TITLE}">'
        f'<table class="sg-recall" aria-label="{texts.RECALL_TITLE}">'
        f"<thead><tr><td></td>{heads}</tr><tr><td></td>{each}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _share(interval: tuple[float, float, float]) -> str:
    mean, low, high = interval
    return f"<td><b>{mean:.0f}%</b><small>{low:.0f} to {high:.0f}</small></td>"


def _lead(interval: tuple[float, float, float]) -> str:
    mean, low, high = interval
    kind = "sg-up" if low > 0 else "sg-down" if high < 0 else "sg-same"
    return f'<td class="{kind}"><b>{mean:+.0f}</b><small>{low:+.0f} to {high:+.0f}</small></td>'
