"""Do experts of one data set help on another? The shipped experts on COCO photos that nothing here was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from core.common import markdown
from core.common.errors import DataError
from core.common.metrics import Relevance, measure
from core.data import Sample, read_folder
from core.experiments import figures, generation
from core.experiments.context import ExperimentContext
from core.experiments.controls import METHODS, SEEDED, Setting
from core.sglora.router import SparseRouter
from core.training.backbone import coco_held_out
from core.training.features import image_features
from core.training.tasks import EVERYDAY, EVERYDAY_DESCRIPTION, SCENES, scene_members

PHOTOS = 12  # of a task, at least


def run(context: ExperimentContext) -> dict[str, Any]:
    """Every control on the tasks of the held-out COCO photos; rows and summary as in ``generation``.

    Raises:
        DataError: the data folder has no captioned COCO photos.
    """
    folder = context.data / "coco"
    if not folder.is_dir():
        raise DataError(f"{context.data} has no folder coco: captioned COCO photos are expected in it.")
    samples = read_folder(folder)
    held = coco_held_out(samples)
    maps = image_features(samples, context.cache, 0, context.log, context.backbone)
    engine, backbone = context.engine, context.backbone
    router = SparseRouter(engine.repository.embeddings)
    rows: list[dict[str, Any]] = []
    for name, (description, members) in tasks_of(samples, held).items():
        relevance = Relevance.of([samples[i].captions for i in members])
        texts = backbone.encode_text(relevance.texts)
        own = torch.from_numpy(np.asarray(maps[members]))
        for seed in generation.SEEDS:
            wrong = generation.RANDOM[(len(rows) + seed) % len(generation.RANDOM)]
            sentences = backbone.encode_sentence([description, wrong])
            right, random = (
                Setting(engine.repository, engine.generator, router.route(text, embedding), seed)
                for text, embedding in zip((description, wrong), sentences, strict=True)
            )
            loras = {m: f(right) for m, f in METHODS.items() if seed == 0 or m in SEEDED}
            loras[generation.RANDOM_FULL] = METHODS[generation.FULL](random)
            loras[generation.RANDOM_NAME] = METHODS[generation.OURS](random)
            for method, lora in loras.items():
                found = measure(backbone.suffix(own, lora), texts, relevance)
                rows.append({"task": name, "group": "scenes", "method": method, "seed": seed, **found})
        context.log(f"{name}: {len(members)} photos")
    sizes = {r["task"]: r["images"] for r in rows}
    summary = generation.summarise(rows)["scenes"] if rows else {}
    return {"photos": int(held.sum()), "tasks": sizes, "summary": summary, "rows": rows}


def tasks_of(samples: Sequence[Sample], held: np.ndarray) -> dict[str, tuple[str, np.ndarray]]:
    """Tasks with PHOTOS held-out photos or more: name -> description, rows. One per COCO category (the paper's way), one
    per scene that captions name, and one of all photos; those that hold the same photos count once."""
    masks = {name: (SCENES[name][0], mask) for name, mask in scene_members(samples).items()}
    for category in sorted({c for s in samples for c in s.categories}):
        article = "an" if category[0] in "aeiou" else "a"
        masks.setdefault(category, (f"a photo of {article} {category}", np.array([category in s.categories for s in samples])))
    found: dict[str, tuple[str, np.ndarray]] = {}
    for name, (description, mask) in masks.items():
        members = np.flatnonzero(mask & held)
        if len(members) >= PHOTOS and not any(np.array_equal(members, rows) for _, rows in found.values()):
            found[name] = description, members
    return {**found, EVERYDAY: (EVERYDAY_DESCRIPTION, np.flatnonzero(held))}


def findings(result: Mapping[str, Any]) -> list[str]:
    """SG-LoRA against zero-shot, the paper's merge and a random sentence."""
    found = result["summary"]
    leads = found["sg-lora minus"]
    said = []
    for control, name in (
        ("zero-shot", "zero-shot"),
        ("top-k, softmax", "the paper's merge"),
        (generation.RANDOM_FULL, "a random sentence"),
    ):
        numbers = " and ".join(f"{markdown.difference(leads[control][k])} {k}" for k in ("R@1", "R@5"))
        said.append(f"On {found['tasks']} tasks of {result['photos']} COCO photos, SG-LoRA's lead over {name} is {numbers}.")
    said.append(
        "The other way, experts of COCO photos on Flickr8k, was not measured: the frozen heads saw most of the captioned COCO "
        "photos at hand, and what is left is too little to train experts on."
    )
    return said


def table(result: Mapping[str, Any]) -> str:
    """Every method over the tasks, and the tasks."""
    sizes = ", ".join(f"{name} ({n})" for name, n in result["tasks"].items())
    return f"{generation.table({'scenes': result['summary']})}\n\nTasks and photos: {sizes}."


def plot(result: Mapping[str, Any]) -> Figure:
    """SG-LoRA's lead over every method, R@1 and R@5."""
    figure, axes = figures.panels(2, 3.4, grid="x")
    for panel, k in zip(axes, ("R@1", "R@5"), strict=True):
        leads = {method: lead[k] for method, lead in result["summary"]["sg-lora minus"].items()}
        figures.intervals(panel, leads, f"SG-LoRA's lead on COCO, {k}")
    return figure
