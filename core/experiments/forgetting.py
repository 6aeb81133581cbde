"""What does a generated adapter forget? Class names that the frozen model finds, on photos that trained no adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from core.common import markdown
from core.experiments import figures, statistics
from core.experiments.context import ExperimentContext
from core.experiments.controls import METHODS, Setting
from core.experiments.held_tasks import domain_tasks, scene_tasks
from core.sglora.repository import CLASS_NAMES
from core.training.forgetting import forgetting, named_sets

SHOWN = ("one-lora", "merge", "sg-lora")
EVERY = 3  # of the scenes' descriptions, one in so many
SHARES = (0.25, 0.5, 0.75, 1.0)  # of the shared part in full


def run(context: ExperimentContext) -> dict[str, Any]:
    """Points of R@1 that are lost: {"methods": {method: {description: {set: points}}}, "shares": {share: {set: points}}, …}."""
    corpus, engine = context.corpus, context.engine
    descriptions = [t.description for t in (*scene_tasks(corpus)[::EVERY], *domain_tasks(corpus, whole=True))]
    lost: dict[str, dict[str, dict[str, float]]] = {m: {} for m in SHOWN}
    for description in descriptions:
        routing = engine.route(description)
        for method in SHOWN:
            if method == "one-lora" and lost[method]:
                continue
            lora = METHODS[method](Setting(engine, routing))
            if lora is not None:
                lost[method][description] = forgetting(engine.backbone, corpus, lora)
        context.log(f"{description}: class names {lost['sg-lora'][description].get(CLASS_NAMES, 0.0):+.1f} points lost")
    shares = {}
    if engine.repository.shared is not None:
        whole = METHODS["one-lora"](Setting(engine, engine.route(descriptions[0]), strength=1.0))
        assert whole is not None
        shares = {str(s): forgetting(engine.backbone, corpus, whole.scaled(s)) for s in SHARES}
    own = {d.name: d.description for d in domain_tasks(corpus, whole=True)}
    return {
        "sets": {each.name: {"photos": len(each.rows), "classes": len(each.names)} for each in named_sets(corpus)},
        "zero-shot": {each.name: round(each.accuracy(corpus.base[each.rows]), 2) for each in named_sets(corpus)},
        "methods": lost,
        "shares": shares,
        "own": {name: lost["sg-lora"][text].get(name) for name, text in own.items()},
        "experts": {
            name: statistics.interval([e.forgetting[name] for e in engine.repository.experts if name in e.forgetting])
            for name in (CLASS_NAMES,)
            if any(name in e.forgetting for e in engine.repository.experts)
        },
    }


def average(result: Mapping[str, Any], method: str, name: str) -> list[float]:
    """Mean points lost over descriptions, with interval."""
    return statistics.interval([values[name] for values in result["methods"][method].values() if name in values])


def findings(result: Mapping[str, Any]) -> list[str]:
    """The average over descriptions, and the worst domain under its own description."""
    lost = average(result, "sg-lora", CLASS_NAMES)
    said = [
        f"Under a generated adapter, class names of everyday objects lose {markdown.difference(lost)} points of R@1 on average "
        f"over {len(result['methods']['sg-lora'])} descriptions (zero-shot {result['zero-shot'][CLASS_NAMES]:.1f})."
    ]
    own = {name: value for name, value in result["own"].items() if value is not None}
    if own:
        worst = max(own, key=lambda n: own[n])
        said.append(f"Of the special domains under their own description, {worst} loses most: {own[worst]:+.1f} points.")
    return said


def table(result: Mapping[str, Any]) -> str:
    """Points lost in each set, by method; and for shares of one LoRA for everything."""
    rows = []
    for name, about in result["sets"].items():
        own = result["own"].get(name)
        rows.append(
            [
                f"{name} ({about['photos']} photos, {about['classes']} classes)",
                f"{result['zero-shot'][name]:.1f}",
                *(f"{average(result, m, name)[0]:+.1f}" for m in SHOWN),
                "" if own is None else f"{own:+.1f}",
            ]
        )
    head = ["points of R@1 lost", "zero-shot R@1", *SHOWN, "sg-lora for this domain"]
    parts = [markdown.table(head, rows)]
    if result["shares"]:
        lines = [[f"{float(s):.0%}", f"{values[CLASS_NAMES]:+.1f}"] for s, values in result["shares"].items()]
        parts.append(f"One LoRA for everything, in part\n\n{markdown.table(['share', 'class names lost'], lines)}")
    return "\n\n".join(parts)


def plot(result: Mapping[str, Any]) -> Figure:
    """Points lost on average over descriptions, by set."""
    figure, (axes,) = figures.panels(height=4.0, grid="x")
    figures.intervals(
        axes, {name: average(result, "sg-lora", name) for name in result["sets"]}, "points of R@1 lost under SG-LoRA"
    )
    return figure
