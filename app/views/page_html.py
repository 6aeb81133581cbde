"""What the page shows, as HTML. Everything that a visitor or a file wrote passes through ``escape``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from app import texts
from app.views import confidence, experts_html
from app.views.charts import RoutingBar, heat_map, routing_chart
from app.visitors.session import LISTED
from core.common.paths import results_path
from core.experts.compare import LoraDistances
from core.retrieval.gallery import AddReport, Photo
from core.sglora.confidence import Confidence
from core.sglora.engine import Adaptation, SGLora
from core.sglora.router import Routing

NAMED_FILES = 12  # a report names this many files of a kind and counts the rest


def note(text: str, kind: str = "") -> str:
    """A quiet line."""
    return f'<p class="sg-note {kind}">{escape(text)}</p>'


def section(title: str, lead: str) -> str:
    """A heading inside a tab."""
    return f'<header class="sg-section"><h2>{escape(title)}</h2><p class="sg-note">{escape(lead)}</p></header>'


def header() -> str:
    """Title and the one line that says what happens."""
    skip = f'<a class="sg-skip" href="#query">{escape(texts.SKIP)}</a>'
    lines = f'<p>{escape(texts.TAGLINE)}</p><p class="sg-note">{texts.PAPER} {measured()}</p>'
    return f'<header class="sg-header">{skip}<h1>{texts.TITLE}</h1>{lines}</header>'


def measured(file: Path | None = None) -> str:
    """What was gained on photos that trained nothing, as the result says that ships; empty without it."""
    try:
        groups = json.loads((file or results_path("known")).read_text(encoding="utf-8"))["groups"]
        methods = groups[texts.MEASURED_GROUP]["methods"]
        before, after = (float(methods[name]["mean"]["R@10"]) for name in ("zero-shot", "sg-lora"))
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return texts.MEASURED.format(before=before, after=after)


def status(text: str, kind: str, details: str = "") -> str:
    """The state of the models; ``kind`` is "wait", "ready" or "failed"."""
    title = f' title="{escape(details)}"' if details else ""
    return f'<p class="sg-status sg-{kind}" role="status"{title}><span aria-hidden="true"></span>{escape(text)}</p>'


def routing(engine: SGLora, result: Routing, found: Confidence | None) -> str:
    """The routed experts by what they are about, with their weights, and whether adapting is likely to help."""
    experts = [(engine.repository.experts[i], w) for i, w in zip(result.chosen.tolist(), result.weights.tolist(), strict=True)]
    items = "".join(
        f'<li style="--weight:{weight * 100:.1f}%" title="{escape(expert.name)}: {escape(expert.description)}">'
        f"<span>{escape(experts_html.short(expert))}</span><b>{weight * 100:.0f} %</b></li>"
        for expert, weight in experts
    )
    remark = engine.remark(result)
    certain = confidence.words(found, [expert.name for expert, _ in experts], remark.text if remark else "")
    return f'<div aria-live="polite"><ol class="sg-experts" aria-label="{texts.ROUTED}">{items}</ol>{certain}</div>'


def routing_details(engine: SGLora, result: Routing) -> str:
    """Every expert's similarity to the sentence."""
    similarity = result.similarity.tolist()
    weights = dict(zip(result.chosen.tolist(), result.weights.tolist(), strict=True))
    order = sorted(range(len(similarity)), key=lambda i: (i not in weights, -similarity[i]))
    bars = []
    for i in order:
        expert = engine.repository.experts[i]
        bars.append(RoutingBar(expert.name, similarity[i], weights.get(i), experts_html.details_line(expert)))
    return f'<div class="sg-panel"><h3>{texts.ROUTED}</h3>{routing_chart(bars)}</div>'


def adapter(result: Adaptation, follows: bool = False) -> str:
    """The generated LoRA in a line, and what its strength means.

    Args:
        result: the adapter. follows: whether the strength follows the confidence.
    """
    remarks = "".join(note(line, "sg-warn") for line in _strength_remarks(result, follows))
    words = texts.LORA_MADE.format(
        description=result.routing.description,
        parameters=f"{result.lora.parameters:,}",
        ms=sum(result.seconds.values()) * 1000,
        kb=4 * result.lora.parameters / 1024,  # float32
    )
    return f'<div aria-live="polite"><p class="sg-made-line">{escape(words)}</p>{remarks}</div>'


def adapter_details(
    result: Adaptation, ranges: Mapping[str, tuple[float, float]], distances: LoraDistances | None = None
) -> str:
    """Facts about a generated LoRA, its strength by layer, and how far it is from the routed experts.

    Args:
        result: the adapter. ranges: the experts' strength by layer. distances: at strength 1; None leaves them out.
    """
    steps = "".join(
        f"<li>{escape(texts.STEPS.get(name, name))} <b>{seconds * 1000:.1f} ms</b></li>"
        for name, seconds in result.seconds.items()
    )
    facts = (
        ("parameters", f"{result.lora.parameters:,}"),
        ("rank", f"{result.lora.rank}"),
        ("seed", f"{result.seed}"),
        ("strength", f"{result.strength:.2g}"),
    )
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    far = "" if distances is None else experts_html.distances(distances)
    title = escape(texts.LORA_FOR.format(description=result.routing.description))
    return (
        f'<div class="sg-panel"><h3>{title}</h3><dl class="sg-facts">{cells}</dl><ul class="sg-steps">{steps}</ul>'
        f"{heat_map(result.lora.norms(), ranges)}{far}</div>"
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


def gallery_line(photos: Sequence[Photo], limit: int) -> str:
    """How full the gallery is; ``limit``: how many photos have room."""
    if not photos:
        return note(texts.GALLERY_EMPTY)
    captioned = sum(bool(p.captions) for p in photos)
    line = texts.PHOTOS_NOW.format(n=len(photos), limit=limit, captioned=captioned)
    return note(line if len(photos) <= LISTED else f"{line} {texts.PHOTOS_LISTED.format(n=LISTED)}")
