"""What do the shipped experts and generator gain on new photos of topics that experts know?

Most people's photos are of this kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from core.backbones.embedded import EmbeddedBackbone
from core.common import markdown
from core.experiments import figures, runner, statistics
from core.experiments.context import ExperimentContext
from core.experiments.controls import METHODS, SEEDED
from core.experiments.fine_tuned import fine_tuned
from core.experiments.held_tasks import SCENES as SUBJECTS
from core.experiments.held_tasks import HeldTask, scene_rows
from core.retrieval.popularity import spread_rows
from core.retrieval.suggest import MOST_PHOTOS, suggested
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest
from core.training.backbone import coco_held_out
from core.training.corpus import Corpus, load_corpus
from core.training.shared_lora import BothHeadsRecipe

OURS = "sg-lora"
EVERYDAY, COCO = "1,000 everyday photos", "COCO scenes"
GROUPS = (runner.SCENES, EVERYDAY, runner.SPECIAL, COCO)
EVERYDAY_DESCRIPTION = "everyday photos of people and animals"
SEEDS = (0, 1, 2)
COCO_FEWEST = 12  # photos of a scene
Row = dict[str, Any]


def run(context: ExperimentContext) -> dict[str, Any]:
    """Measure all tasks and methods, and summarise them."""
    rows: list[Row] = []
    corpus, engine = context.corpus, context.engine
    everyday = np.flatnonzero(corpus.scenes & corpus.test)
    known = {**runner.known_tasks(corpus), EVERYDAY: [HeldTask("everyday", EVERYDAY_DESCRIPTION, "scenes", everyday, everyday)]}
    tasks = [(group, task) for group in GROUPS for task in known.get(group, ())]
    for group, task in tasks:
        about = {"group": group, "task": task.name, "photos": len(task.test)}
        rows += [about | row for row in measured(engine, corpus, task.description, task.test)]
        rows.append(about | _suggested(engine, corpus, task.test))
        context.log(f"{group}, {task.name}")
    rows += _fine_tuned(context, tasks)
    rows += _coco(context, engine)
    return {"groups": statistics.summary(rows, GROUPS, OURS), "seeds": list(SEEDS), "rows": rows}


def _fine_tuned(context: ExperimentContext, tasks: Sequence[tuple[str, HeldTask]]) -> list[Row]:
    """The control without an adapter: both heads, fully fine-tuned."""
    backbone = context.backbone
    if not isinstance(backbone, EmbeddedBackbone) or backbone.shared is None:
        return []
    file = context.folder("known") / f"fine-tuned-{backbone.fingerprint}.safetensors"
    paper = backbone.adapting("photos")
    frozen = load_corpus(context.data, paper, context.cache, context.log, BothHeadsRecipe().views)
    tuned = fine_tuned(frozen, file, context.log)
    corpus = load_corpus(context.data, tuned, context.cache, context.log)
    about = {"variant": "fine-tuned", "seed": 0}
    return [
        {"group": group, "task": t.name, "photos": len(t.test), **about, **statistics.both_ways(corpus.recalls(t.test))}
        for group, t in tasks
    ]


def measured(engine: SGLora, corpus: Corpus, description: str, photos: np.ndarray) -> list[Row]:
    """Recalls of every method on the photos at these rows, as means of both directions; SEEDED methods with every seed."""
    adaptations = {seed: engine.adapt(AdapterRequest(description, seed=seed)) for seed in SEEDS}
    return [
        {"variant": name, "seed": seed, **statistics.both_ways(corpus.recalls(photos, method(engine, adaptations[seed])))}
        for name, method in METHODS.items()
        for seed in (SEEDS if name in SEEDED else SEEDS[:1])
    ]


def _suggested(engine: SGLora, corpus: Corpus, photos: np.ndarray) -> Row:
    """The row of SG-LoRA with the first sentence that the app suggests for these photos; without one, of the shared part."""
    sample = corpus.base[torch.from_numpy(photos[spread_rows(len(photos), MOST_PHOTOS)])]
    experts = suggested(engine.repository, sample)
    lora = engine.adapt(AdapterRequest(experts[0].description)).full if experts else engine.backbone.shared
    sentence = experts[0].description if experts else None
    recalls = statistics.both_ways(corpus.recalls(photos, lora))
    return {"variant": "suggested", "seed": 0, "sentence": sentence, **recalls}


def _coco(context: ExperimentContext, engine: SGLora) -> list[Row]:
    """Rows of scenes with at least COCO_FEWEST captioned COCO photos that trained nothing."""
    folder = context.data / "coco"
    if not folder.is_dir():
        return []
    corpus = load_corpus(folder, engine.backbone, context.cache, context.log)
    held = np.flatnonzero(coco_held_out(corpus.samples) & corpus.captioned)
    rows: list[Row] = []
    for name, photos in scene_rows({int(i): corpus.samples[i].captions for i in held}).items():
        if len(photos) >= COCO_FEWEST:
            about = {"group": COCO, "task": f"coco {name}", "photos": len(photos)}
            rows += [about | row for row in measured(engine, corpus, SUBJECTS[name]["description"], photos)]
            rows.append(about | _suggested(engine, corpus, photos))
    return rows


def findings(result: Mapping[str, Any]) -> list[str]:
    sentences = []
    for group, content in result["groups"].items():
        methods = content["methods"]
        zero = methods["zero-shot"]["ours minus it"]
        rest = {m: v for m, v in methods.items() if m not in ("zero-shot", OURS)}
        best = max(rest, key=lambda m: rest[m]["mean"]["R@1"] + rest[m]["mean"]["R@5"])
        sentences.append(
            f"{group}: {markdown.difference(zero['R@1'])} R@1 and {markdown.difference(zero['R@5'])} R@5 over zero-shot; "
            f"beside the best control ({best}) {markdown.difference(rest[best]['ours minus it']['R@1'])} R@1."
        )
    return sentences


def table(result: Mapping[str, Any]) -> str:
    return statistics.summary_table(result["groups"], OURS)


def plot(result: Mapping[str, Any]) -> Figure:
    shown = {g: c for g, c in result["groups"].items() if c["tasks"] > 1}
    figure, axes = figures.panels(len(shown), 2.6, grid="x")
    for panel, (group, content) in zip(axes, shown.items(), strict=True):
        rows = {m: v["ours minus it"]["R@5"] for m, v in content["methods"].items() if v["ours minus it"]}
        figures.intervals(panel, rows, f"{group}: SG-LoRA minus …, R@5")
    return figure
