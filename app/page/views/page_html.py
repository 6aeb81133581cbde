"""HTML that the page shows around photos and results."""

import json
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from app.languages import texts
from app.languages.texts import Text
from app.page.views import experts_html
from app.page.views.template import macros
from app.visitors.visitor import LISTED, Visitor
from core.common.errors import brief
from core.common.paths import results_path
from core.retrieval.gallery import AddReport
from core.sglora.engine import Adaptation, SGLora
from core.sglora.fit import Fit
from core.sglora.router import Routing

NEAR = 4  # closest other experts, shown beside the routed ones
_html = macros("page.html")
note, section, status, listed_files, folded = _html.note, _html.section, _html.status, _html.listed_files, _html.folded
expert_names = _html.expert_names


def header(shipped: bool) -> Markup:
    """The title, and one line that says what the app does. ``shipped``: whether it has the shipped experts, whose gain is
    measured."""
    return _html.header(measured() if shipped else "")


def measured() -> str:
    """The gain of a sentence on new photos, beside the shared part's, from the shipped result."""
    methods = json.loads(results_path("known").read_text(encoding="utf-8"))["groups"][texts.MEASURED_GROUP]["methods"]
    before, one, after = (methods[name]["mean"]["R@1"] for name in ("zero-shot", "one-lora", "sg-lora"))
    return texts.MEASURED.format(before=before, one=one, after=after)


def one_more() -> tuple[int, int]:
    """Points of R@1 that the first expert of a topic and each further one bring, from the shipped result."""
    groups = json.loads(results_path("composition").read_text(encoding="utf-8"))["groups"]
    first, *further = (step["each"][0] for step in groups[texts.MEASURED_GROUP]["one more"].values())
    return round(first), round(sum(further) / len(further))


def routing(engine: SGLora, result: Routing, fit: Fit, differs: str, offered: bool, k: int = 0) -> Markup:
    """The experts with their weights, those of the ``k`` closest that are left out, and how well they fit."""
    return _html.routing(weights(engine, result, k, fit.fits), fit_notice(fit, differs, offered), result.by_hand)


def weights(engine: SGLora, result: Routing, closest: int, applied: bool, compared: bool = False) -> Markup:
    """Bars of the experts in an adapter, which a visitor may drag, and of the ``closest`` others, which may be added.
    ``compared``: with their similarity to the sentence."""
    percents, similarity = experts_html.percents(result), result.similarity.tolist()
    exact = dict(zip(percents, result.weights.tolist(), strict=True))
    others, experts = sorted(range(len(similarity)), key=lambda i: -similarity[i])[:closest], engine.repository.experts
    shown = [(experts[i], percents.get(i, 0), exact.get(i, 0.0), similarity[i]) for i in dict.fromkeys([*percents, *others])]
    return _html.weights([(expert, experts_html.short(expert), *bar) for expert, *bar in shown], result, applied, compared)


def fit_notice(fit: Fit, differs: str = "", offered: bool = True) -> Markup:
    """A notice that no expert fits and why, or that the photos are of another kind; empty if neither. ``differs``: what helps
    photos of another kind, if no sentence does. ``offered``: whether another sentence is offered."""
    instead = texts.SUGGESTION if offered else ""
    if fit.remark is not None or not fit.fits:
        why = texts.NO_EXPERT_FITS if fit.remark is None else texts.of(fit.remark)
        return _html.fit(why, "" if fit.fits else f"{texts.ONLY_SHARED} {instead}".strip())
    if differs:
        return _html.fit(texts.PHOTOS_DIFFER, instead or differs)
    return Markup("")


def routing_details(engine: SGLora, result: Routing) -> Markup:
    """The similarity of every expert to the sentence."""
    similarity = result.similarity.tolist()
    weights = {i: percent / 100 for i, percent in experts_html.percents(result).items()}
    order = sorted(range(len(similarity)), key=lambda i: (i not in weights, -similarity[i]))
    experts = [(i, engine.repository.experts[i]) for i in order]
    bars = [(expert.name, similarity[i], weights.get(i), texts.topic(expert.description)) for i, expert in experts]
    return _html.routing_details(bars, len(weights) + NEAR)


def adapter(engine: SGLora, result: Adaptation) -> Markup:
    if not result.fits:
        return _html.adapter(texts.LORA_SHARED)
    made = texts.LORA_MERGED if engine.generator is None else texts.LORA_MADE
    return _html.adapter(made.format(description=brief(result.routing.description), ms=sum(result.seconds.values()) * 1000))


def adapter_details(engine: SGLora, result: Adaptation) -> Markup:
    lost = Fit.of(engine, result.routing).forgetting if result.fits else 0.0
    facts = (
        ("parameters", f"{result.lora.parameters:,}"),
        ("rank", result.lora.rank),
        ("seed", result.request.seed),
        ("strength", f"{result.strength:.2g}"),
        ("everyday objects that lose their right name", f"{lost:.0f} of 100"),
    )
    title = texts.LORA_FOR.format(description=result.routing.description) if result.fits else texts.SHARED
    return _html.adapter_details(title, facts, result.seconds)


def report(lines: Sequence[Text], added: AddReport | None = None, more_failed: Iterable[tuple[str, Text]] = ()) -> Markup:
    """The result of an upload or another file: remarks, counts, and duplicates and failures by name."""
    failed = [(name, texts.of(reason)) for name, reason in (*(added.failed if added else ()), *more_failed)]
    reasons = [reason if reason.startswith(name) else f"{name}: {reason}" for name, reason in failed]
    return _html.report(added, reasons, list(map(texts.of, lines)))


def taught_name(taught: tuple[str, int]) -> str:
    name, photos = taught
    return (texts.NAMES_CHIP_ONE if photos == 1 else texts.NAMES_CHIP).format(name=name, n=photos)


def gallery_line(visitor: Visitor, samples: int = 0, library: str = "", found: int = 0) -> Markup:
    """How full the gallery is, or the progress of photos that are being added. ``samples``, ``found``: how many of the samples
    or of a ``library`` are searched instead."""
    photos, limit, adding = visitor.photos, visitor.limit, visitor.progress
    if adding is None and visitor.adding:
        return note(texts.ADDING)
    if adding is not None:
        left = adding.seconds_left
        words = texts.ADDING_NOW if left is None else texts.ADDING_LEFT
        words = words.format(done=adding.done, total=adding.total, seconds=left) if adding.total else texts.ADDING
        return _html.adding(words, adding)
    if not photos:
        words = texts.SAMPLES_NOW if samples else texts.LIBRARY_NOW if found else texts.GALLERY_EMPTY
        return note(words.format(n=samples or found, name=library))
    captioned = sum(bool(p.captions) for p in photos)
    line = texts.PHOTOS_NOW.format(n=len(photos), limit=limit, captioned=captioned)
    return note(line if len(photos) <= LISTED else f"{line} {texts.PHOTOS_LISTED.format(n=LISTED)}")
