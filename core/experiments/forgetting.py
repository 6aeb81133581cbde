"""What does a generated adapter forget? R@1 of class names, on photos that trained no adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from core.common import markdown
from core.common.errors import DataError
from core.common.paths import data_of
from core.experiments import figures, statistics
from core.experiments.context import ExperimentContext
from core.experiments.controls import METHODS
from core.experiments.held_tasks import domain_tasks, scene_tasks
from core.sglora.repository import CLASS_NAMES
from core.sglora.request import AdapterRequest
from core.training.corpus import usual_adapter
from core.training.forgetting import NamedSet, forgetting, named_sets

SHOWN = ("one-lora", "merge", "sg-lora")
EVERY = 3  # every third scene's description is used
SHARES = (0.25, 0.5, 0.6, 0.7, 0.8, 1.0)  # strengths of the one LoRA
FEWEST_CLASSES = 5  # of a kind
# Kinds of everyday objects; each class name of a kind has one of its words. Written before measuring.
KINDS: Mapping[str, str] = data_of(__file__)


def run(context: ExperimentContext) -> dict[str, Any]:
    """Points of R@1 lost: {"methods": {method: {description: {set: points}}}, "shares": {share: {set: points}}, …}.

    Raises DataError: when the data has no photos of everyday objects to measure, or no topic to adapt to.
    """
    corpus, engine = context.corpus, context.engine
    sets = named_sets(corpus)
    descriptions = [t.description for t in (*scene_tasks(corpus)[::EVERY], *domain_tasks(corpus, whole=True))]
    everyday = next((each for each in sets if each.name == CLASS_NAMES), None)
    if everyday is None or not descriptions:
        raise DataError("CORE_FEW_TEST_PHOTOS", folder=context.data)
    lost: dict[str, dict[str, dict[str, float]]] = {m: {} for m in SHOWN}
    for description in descriptions:
        adaptation = engine.adapt(AdapterRequest(description))
        for method in SHOWN:
            if method == "one-lora" and lost[method]:
                continue
            lost[method][description] = forgetting(corpus, METHODS[method](engine, adaptation))
        context.log(f"{description}: class names {lost['sg-lora'][description][CLASS_NAMES]:+.1f} points lost")
    shares = {}
    if engine.repository.shared is not None:
        whole = METHODS["one-lora"](engine, engine.adapt(AdapterRequest(descriptions[0])))
        shares = {str(s): forgetting(corpus, whole, strength=s) for s in SHARES}
    own = {d.name: d.description for d in domain_tasks(corpus, whole=True)}
    return {
        "sets": {each.name: {"photos": len(each.rows), "classes": len(each.names)} for each in sets},
        "zero-shot": {each.name: round(each.share(corpus), 2) for each in sets},
        "methods": lost,
        "shares": shares,
        "kinds": _kinds(context, everyday),
        "own": {name: lost["sg-lora"][text].get(name) for name, text in own.items()},
    }


def _kinds(context: ExperimentContext, everyday: NamedSet) -> dict[str, dict[str, float]]:
    """For each of KINDS, R@1 of its everyday photos among its class names, zero-shot and under the adapter of "photos of
    KIND"."""
    corpus, engine = context.corpus, context.engine
    labels = [corpus.samples[row].label for row in everyday.rows]
    results = {}
    for kind, listed in KINDS.items():
        chosen = [i for i, label in enumerate(labels) if set(label.lower().split()) & set(listed.split())]
        classes = sorted({int(everyday.answers[i]) for i in chosen})
        if len(classes) < FEWEST_CLASSES:
            continue
        answers = torch.tensor([classes.index(int(everyday.answers[i])) for i in chosen])
        photos = NamedSet(kind, everyday.rows[chosen], everyday.names[classes], answers)
        adapter = usual_adapter(engine.backbone, engine.adapt(AdapterRequest(f"photos of {kind}")).lora)
        results[kind] = {
            "photos": len(chosen),
            "zero-shot": round(photos.share(corpus), 2),
            "sg-lora": round(photos.share(corpus, adapter), 2),
        }
    return results


def average(result: Mapping[str, Any], method: str, name: str) -> list[float]:
    """Mean points lost over descriptions, with its interval."""
    return statistics.interval([values[name] for values in result["methods"][method].values() if name in values])


def findings(result: Mapping[str, Any]) -> list[str]:
    lost = average(result, "sg-lora", CLASS_NAMES)
    sentences = [
        f"Under a generated adapter, class names of everyday objects lose {markdown.difference(lost)} points of R@1 on average "
        f"over {len(result['methods']['sg-lora'])} descriptions (zero-shot {result['zero-shot'][CLASS_NAMES]:.1f})."
    ]
    if result["kinds"]:
        changes = {kind: values["sg-lora"] - values["zero-shot"] for kind, values in result["kinds"].items()}
        worst = min(changes, key=lambda kind: changes[kind])
        loses = f"{worst} lose most, {-changes[worst]:.1f}" if changes[worst] < 0 else "no kind loses"
        sentences.append(
            f"A gallery of one kind, told apart by class names under “photos of” it, changes by "
            f"{np.mean(list(changes.values())):+.1f} points of R@1 on average over {len(changes)} kinds; {loses}."
        )
    own = {name: value for name, value in result["own"].items() if value is not None}
    if own:
        worst = max(own, key=lambda n: own[n])
        loses = f"{worst} loses most, {own[worst]:.1f} points" if own[worst] > 0 else "none loses class names of its own"
        sentences.append(f"Of {len(own)} special domains under their own description, {loses}.")
    return sentences


def table(result: Mapping[str, Any]) -> str:
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
        parts.append(
            f"One LoRA for everything, at several strengths\n\n{markdown.table(['strength', 'class names lost'], lines)}"
        )
    if result["kinds"]:
        lines = [
            [f"{kind} ({v['photos']:.0f})", f"{v['zero-shot']:.1f}", f"{v['sg-lora']:.1f}"]
            for kind, v in result["kinds"].items()
        ]
        head = ["kind, told apart by class names (photos)", "zero-shot R@1", "sg-lora for “photos of” it"]
        parts.append(f"Galleries of one kind\n\n{markdown.table(head, lines)}")
    return "\n\n".join(parts)


def plot(result: Mapping[str, Any]) -> Figure:
    figure, (axes,) = figures.panels(height=4.0, grid="x")
    rows = {name: average(result, "sg-lora", name) for name in result["sets"]}
    figures.intervals(axes, rows, "points of R@1 lost under SG-LoRA")
    return figure
