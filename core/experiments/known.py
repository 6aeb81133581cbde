"""What do the shipped experts and generator gain on new photos of topics that experts know?"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from core.backbones.embedded import EmbeddedBackbone
from core.experiments import runner, statistics
from core.experiments.context import ExperimentContext
from core.experiments.fine_tuned import fine_tuned
from core.experiments.held_tasks import SCENES, HeldTask, scene_rows
from core.retrieval.popularity import spread_rows
from core.retrieval.suggest import MOST_PHOTOS, Look
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest
from core.training.corpus import Corpus, coco_held_out, load_corpus
from core.training.shared_lora import BothHeadsRecipe

OURS = "sg-lora"
EVERYDAY, COCO = "1,000 everyday photos", "COCO scenes"
COCO_FEWEST = 12  # photos of a scene


def everyday(corpus: Corpus) -> HeldTask:
    """All everyday photos that trained nothing, as one gallery."""
    rows = np.flatnonzero(corpus.scenes & corpus.test)
    return HeldTask("everyday", "everyday photos of people and animals", "scenes", rows, rows)


def run(context: ExperimentContext) -> dict[str, Any]:
    engine, corpus = context.engine, context.corpus
    tasks = {**runner.known_tasks(corpus), EVERYDAY: [everyday(corpus)]}
    rows = runner.measured(context, "known", tasks, lambda task: _variants(engine, corpus, task))
    rows += [*_fine_tuned(context, tasks), *_coco(context)]
    return {"groups": statistics.summary(rows, OURS), "seeds": list(runner.SEEDS), "rows": rows}


def _variants(engine: SGLora, corpus: Corpus, task: HeldTask) -> Iterable[runner.Variant]:
    """Every method, and SG-LoRA with the first sentence that the app suggests for the photos; without one, the shared part."""
    yield from runner.methods(engine, task.description)
    sentence = suggestion(engine, corpus, task.test)
    lora = engine.adapt(AdapterRequest(sentence)).full if sentence else engine.backbone.shared
    yield {"variant": "suggested", "seed": 0, "sentence": sentence}, lora


def suggestion(engine: SGLora, corpus: Corpus, rows: np.ndarray) -> str | None:
    """The sentence that the page suggests for these photos; None if it suggests none."""
    look = Look.of(engine.repository, corpus.base[torch.from_numpy(rows[spread_rows(len(rows), MOST_PHOTOS)])])
    return None if look is None or look.suggested is None else look.suggested.description


def _fine_tuned(context: ExperimentContext, tasks: Mapping[str, list[HeldTask]]) -> list[runner.Row]:
    backbone = context.backbone
    if not isinstance(backbone, EmbeddedBackbone) or backbone.shared is None:
        return []
    frozen = load_corpus(context.data, backbone.adapting("photos"), context.cache, context.log, BothHeadsRecipe().views)
    file = context.folder("known") / f"fine-tuned-{backbone.fingerprint}.safetensors"
    tuned = replace(context, backbone=fine_tuned(frozen, file, context.log))
    return runner.measured(tuned, "known", tasks, lambda task: [({"variant": "fine-tuned", "seed": 0}, None)])


def _coco(context: ExperimentContext) -> list[runner.Row]:
    """Scenes of COCO, whose other photos trained the base, with at least COCO_FEWEST photos."""
    coco = replace(context, data=context.data / "coco")
    if not coco.data.is_dir():
        return []
    samples = coco.corpus.samples
    held = np.flatnonzero(coco_held_out(samples) & coco.corpus.captioned)
    scenes = {n: r for n, r in scene_rows({int(i): samples[i].captions for i in held}).items() if len(r) >= COCO_FEWEST}
    tasks = [HeldTask(f"coco {n}", SCENES[n]["description"], "scenes", r, r) for n, r in scenes.items()]
    return runner.measured(coco, "known", {COCO: tasks}, lambda task: _variants(context.engine, coco.corpus, task))
