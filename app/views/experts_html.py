"""What the page shows of experts: the table, one expert, two compared, the visitor's own, and the two maps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from textwrap import shorten

from app import texts
from app.views.charts import layer_name
from app.views.scatter import Mark, scatter
from core.common.metrics import KS, mean_of_ways
from core.experts.compare import ExpertComparison, LoraDistances
from core.experts.own import ExpertLibrary, OwnEntry
from core.experts.projection import ExpertMap, description_map
from core.sglora.repository import Expert, ExpertRepository
from core.sglora.router import Routing
from core.training.own_expert import OwnExpert

SHORT = 46  # characters of an expert's description


def gain(expert: Expert, k: int = 1) -> str:
    """The gain in words."""
    value = expert.gain(k)
    return texts.NOT_MEASURED if value is None else texts.GAIN.format(gain=f"{value:+.1f}", k=k)


def short(expert: Expert) -> str:
    """What an expert is about, in a few words: a scene's name is a phrase, that of a group of classes tells little."""
    if expert.group == "scenes":
        return expert.name
    return shorten(re.sub(r"^(an? )?(photo|everyday photo)s? of (an? )?", "", expert.description), SHORT, placeholder=" …")


def details_line(expert: Expert) -> str:
    """What hovering an expert says: its task, its source, its gain."""
    photos = texts.PHOTOS_OF.format(n=expert.images) if expert.images else ""
    source = ", ".join(part for part in (expert.group, expert.source, photos) if part)
    return f"{expert.description} · {source} · {gain(expert)}"


def rows(experts: Sequence[Expert], words: str = "") -> list[list[object]]:
    """One row an expert, in the order of ``texts.EXPERTS_HEADERS``; only those in which all ``words`` are found."""
    wanted, found = words.casefold().split(), []
    for e in experts:
        said = f"{e.name} {e.description} {e.group} {e.source}".casefold()
        if all(word in said for word in wanted):
            recalls = [round(mean_of_ways(r, "R@1"), 1) if r else None for r in (e.before, e.after)]
            gains = [None if (g := e.gain(k)) is None else round(g, 1) for k in (1, 5)]
            found.append([e.name, e.description, e.group, e.source, e.images, *recalls, *gains])
    return found


def details(expert: Expert, norms: Mapping[str, float]) -> str:
    """One expert: what it was trained on, and recall before and after in both directions."""
    facts = [
        (texts.FACT_TASK, expert.description),
        (texts.FACT_DATA, f"{expert.group}, {expert.source}"),
        (texts.FACT_PHOTOS, f"{expert.images:,}" if expert.images else "–"),
        (texts.FACT_SNAPSHOTS, f"{expert.snapshots}"),
        (texts.FACT_SEED, f"{expert.seed}"),
        (texts.FACT_NORM, f"{sum(v * v for v in norms.values()) ** 0.5:.2f}"),
    ]
    if expert.classes:
        facts.append((texts.FACT_CLASSES, ", ".join(expert.classes)))
    cells = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return (
        f'<div class="sg-panel" aria-live="polite"><h3>{escape(expert.name)} <small>{escape(gain(expert))}</small></h3>'
        f'<dl class="sg-facts sg-facts-words">{cells}</dl>{_before_after(expert)}</div>'
    )


def _before_after(expert: Expert) -> str:
    if not expert.measured:
        return f'<p class="sg-note">{texts.NOBODY_MEASURED}</p>'
    ways = (("t2i", texts.T2I), ("i2t", texts.I2T))
    heads = "".join(f'<th scope="colgroup" colspan="{len(KS)}">{words}</th>' for _, words in ways)
    each = "".join(f'<th scope="col">R@{k}</th>' for k in KS) * len(ways)
    lines = ""
    for title, side in ((texts.ZERO_SHOT, expert.before), (texts.WITH_EXPERT, expert.after)):
        cells = "".join(f"<td>{side[way][f'R@{k}']:.1f}</td>" for way, _ in ways for k in KS)
        lines += f'<tr><th scope="row">{title}</th>{cells}</tr>'
    caption = texts.MEASURED_ON.format(n=expert.after["images"])
    return (
        f'<div class="sg-scroll" tabindex="0" role="region" aria-label="{texts.RECALL}"><table class="sg-recall">'
        f"<caption>{texts.RECALL}<small>{caption}</small></caption><thead><tr><td></td>{heads}</tr>"
        f"<tr><td></td>{each}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def count(rows: int, experts: int, words: str) -> str:
    """How many experts a search found, and what to do where it found none."""
    if not words.strip():
        return ""
    found = texts.EXPERTS_FOUND.format(n=rows, total=experts) if rows else texts.EXPERTS_NONE.format(words=words.strip())
    return f'<p class="sg-note" role="status">{escape(found)}</p>'


def likeness(pairs: Sequence[ExpertComparison], names: Sequence[str]) -> str:
    """Several experts, each against each: likeness of the weight changes, and of the descriptions below it."""
    known = {pair.names: pair for pair in pairs} | {pair.names[::-1]: pair for pair in pairs}

    def cell(a: str, b: str) -> str:
        pair = known.get((a, b))
        return "<td></td>" if pair is None else f"<td><b>{pair.cosine:.2f}</b><small>{pair.description_cosine:.2f}</small></td>"

    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(f'<tr><th scope="row">{escape(a)}</th>{"".join(cell(a, b) for b in names)}</tr>' for a in names)
    return (
        f'<div class="sg-panel sg-scroll" tabindex="0" role="region" aria-label="{texts.LIKENESS}"><table class="sg-recall">'
        f"<caption>{texts.LIKENESS}<small>{texts.LIKENESS_NOTE}</small></caption>"
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def compared(found: ExpertComparison) -> str:
    """Two experts against each other."""
    a, b = (escape(name) for name in found.names)
    facts = (
        (texts.COMPARE_MEANING, f"{found.description_cosine:.2f}"),
        (texts.COMPARE_COSINE, f"{found.cosine:.2f}"),
        (texts.COMPARE_DISTANCE, f"{found.distance:.2f}"),
        (texts.COMPARE_NORMS, f"{found.norms[0]:.2f} / {found.norms[1]:.2f}"),
    )
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    layers = "".join(_share_bar(layer_name(name), value, f"{value:.2f}") for name, value in found.modules.items())
    return (
        f'<div class="sg-panel" aria-live="polite"><h3>{a} <small>{texts.COMPARED_WITH}</small> {b}</h3>'
        f'<dl class="sg-facts sg-facts-four">{cells}</dl><p class="sg-note">{texts.COMPARE_NOTE}</p>'
        f'<ol class="sg-bars" aria-label="{texts.COMPARE_LAYERS}">{layers}</ol></div>'
    )


def _share_bar(name: str, share: float, shown: str) -> str:
    width = max(0.0, min(1.0, share)) * 100
    return (
        f'<li class="sg-bar sg-bar-plain"><span class="sg-bar-name" title="{escape(name)}">{escape(name)}</span>'
        f'<span class="sg-track"><i style="width:{width:.1f}%"></i></span><span class="sg-number">{shown}</span></li>'
    )


def distances(found: LoraDistances) -> str:
    """How far a generated LoRA is from the routed experts."""
    farthest = max([found.norm, found.origin, *found.experts, 1e-9])
    lines = [*zip(found.names, found.experts, strict=True), (texts.DISTANCE_START, found.origin)]
    lines.append((texts.DISTANCE_ZERO, found.norm))
    bars = "".join(_share_bar(name, value / farthest, f"{value:.2f}") for name, value in lines)
    return f'<h4 class="sg-sub">{texts.DISTANCES}<small>{texts.DISTANCES_NOTE}</small></h4><ol class="sg-bars">{bars}</ol>'


def own_list(library: ExpertLibrary) -> str:
    """The visitor's experts, each with its gain as it was measured, a loss too."""
    if not library.own:
        return f'<p class="sg-note">{texts.OWN_NONE}</p>'
    items = "".join(map(_own, library.own))
    return f'<div class="sg-panel"><h3>{texts.OWN_LIST}</h3><ul class="sg-own">{items}</ul></div>'


def _own(entry: OwnEntry) -> str:
    remarks = [gain(entry.expert)]
    if entry.lost > 0.005:
        remarks.append(texts.OWN_LOST.format(share=f"{entry.lost * 100:.0f}"))
    lines = f"<b>{escape(entry.name)}</b> · {escape(entry.expert.description)}"
    return f"<li>{lines}<small>{escape(' · '.join(remarks))}</small></li>"


def trained(found: OwnExpert) -> str:
    """What a training came to, on photos that it did not see."""
    value = found.expert.gain(1) or 0.0
    start = mean_of_ways(found.start, "R@1") - mean_of_ways(found.expert.before, "R@1")
    if value <= 0:
        kind, verdict = "sg-warn", texts.TRAINED_LOST
    else:
        kind, verdict = "sg-ok", texts.TRAINED_GAINED if value > start else texts.TRAINED_SHARED
    words = texts.TRAINED.format(
        name=found.expert.name, photos=found.trained_on, steps=found.steps, seconds=found.seconds, held=found.held
    )
    note = texts.TRAINED_START.format(start=f"{start:+.1f}", points=f"{100 / max(1, found.held):.0f}")
    return (
        f'<div class="sg-panel" role="status"><p>{escape(words)}</p>'
        f'<p class="{kind}"><b>{escape(gain(found.expert))}.</b> {verdict}</p>'
        f'<p class="sg-note">{escape(note)}</p>{_before_after(found.expert)}</div>'
    )


# Maps


def routing_map(repository: ExpertRepository, routing: Routing | None, owned: int) -> str:
    """All experts by their descriptions, with the visitor's sentence among them; the last ``owned`` are the visitor's."""
    found = description_map(repository, None if routing is None else routing.embedding, owned)
    chosen = [] if routing is None else routing.chosen.tolist()
    marks = _experts(repository, found, chosen, owned)
    if routing is not None and found.placed is not None:
        marks.append(Mark(texts.MAP_HERE, *found.placed, "here", routing.description, True))
    names = ", ".join(repository.experts[i].name for i in chosen)
    summary = texts.MAP_SUMMARY.format(names=names) if chosen else texts.MAP_SUMMARY_EMPTY.format(n=len(repository))
    return scatter(texts.MAP_TITLE, summary, marks, texts.MAP_NOTE.format(share=f"{found.shown * 100:.0f}"))


def latent(repository: ExpertRepository, routing: Routing, found: ExpertMap, owned: int) -> str:
    """The latent space of the generator: the experts, the prior of this routing and the sample that was drawn from it."""
    marks = _experts(repository, found, routing.chosen.tolist(), owned)
    if found.prior is not None:
        marks.append(Mark(texts.LATENT_PRIOR, *found.prior, "prior", texts.LATENT_PRIOR_DETAILS, True))
    if found.placed is not None:
        marks.append(Mark(texts.LATENT_HERE, *found.placed, "here", texts.LATENT_HERE_DETAILS, True))
    return scatter(texts.LATENT_TITLE, texts.LATENT_SUMMARY, marks, texts.LATENT_NOTE.format(share=f"{found.shown * 100:.0f}"))


def _experts(repository: ExpertRepository, found: ExpertMap, chosen: Sequence[int], owned: int) -> list[Mark]:
    """Marks of all experts, the routed ones last, and labelled where they are few."""
    first_own = len(repository) - owned

    def mark(i: int) -> Mark:
        routed = i in chosen
        kind = "routed" if routed else "own" if i >= first_own else "off"
        labelled = routed and len(chosen) <= 8
        return Mark(found.names[i], *found.points[i], kind, details_line(repository.experts[i]), labelled)

    others = [i for i in range(len(repository)) if i not in chosen]
    return [mark(i) for i in (*others, *reversed(chosen))]
