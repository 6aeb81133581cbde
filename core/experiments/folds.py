"""Five folds over tasks (docs/design.md, section 5).

In a fold, no photo of a held-out task trains the shared LoRA, an expert or the generator. Trained parts are kept on disk, so
that an interrupted run resumes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from core.backbones import EMBEDDED
from core.backbones.base import Backbone
from core.backbones.embedded import EmbeddedBackbone
from core.common.digest import digest
from core.common.errors import DataError
from core.experiments.context import ExperimentContext
from core.experiments.held_tasks import HeldTask, captioned_domain_tasks, domain_tasks, scene_tasks
from core.experts.files import INDEX_FILE, load_generator, load_repository, save_repository
from core.sglora.engine import SGLora
from core.training.corpus import Corpus, draw, load_corpus
from core.training.discovery import discover
from core.training.experts import ExpertTraining
from core.training.generator import GeneratorRecipe, train_generator
from core.training.recipe import EMBEDDED_RECIPE, ExpertRecipe, recipe_for
from core.training.shared_lora import BothHeadsRecipe, kept_run

FOLDS = 5
ASSIGNMENT = "folds of both heads"  # another text gives other folds: measure a recipe on folds that did not choose it
Part = Callable[[Corpus], Corpus]  # the corpus in which some photos train nothing


@dataclass(frozen=True)
class FoldRecipe:
    """The recipes of one fold: shorter than the shipped ones, so that five folds take hours on two cores."""

    experts: ExpertRecipe
    generator: GeneratorRecipe
    shared: BothHeadsRecipe

    @staticmethod
    def of(backbone: Backbone) -> FoldRecipe:
        """The recipe for a backbone; CLIP uses its full recipe, on a GPU."""
        short = replace(EMBEDDED_RECIPE, steps=60, names=128, keyword=60, fine=110, classes=20, views=1)
        experts = short if backbone.slug == EMBEDDED else recipe_for(backbone)
        return FoldRecipe(experts, GeneratorRecipe(), BothHeadsRecipe(steps=300))


@dataclass(frozen=True)
class Trained:
    """Models that some of the photos trained."""

    context: ExperimentContext  # of their backbone; its corpus has all photos
    engine: SGLora
    folder: Path  # of the experts' snapshots


def split(corpus: Corpus, fold: int) -> tuple[list[HeldTask], Corpus]:
    """The held-out tasks of a fold, and the corpus in which none of their photos trains or validates. Raises DataError: when
    the fold has no task."""
    held: list[HeldTask] = []
    for tasks in (scene_tasks(corpus), [*domain_tasks(corpus), *captioned_domain_tasks(corpus)]):
        held += sorted(tasks, key=lambda t: draw(f"{ASSIGNMENT} {t.name}"))[fold::FOLDS]
    if not held:
        raise DataError(f"The data has too few tasks to hold them out in {FOLDS} folds.")
    seen = np.ones(len(corpus), dtype=bool)
    seen[np.concatenate([t.rows for t in held])] = False
    return held, replace(corpus, train=corpus.train & seen, validation=corpus.validation & seen)


def trained(context: ExperimentContext, name: str, part: Part, recipe: FoldRecipe, seed: int = 0) -> Trained:
    """Train a shared LoRA, experts and a generator on a part of the photos, or read those that an earlier run kept as ``name``.

    ``seed``: of the experts, and of a shared LoRA that their recipe trains. The shared LoRA of both heads takes longest, and is
    trained once per part.
    """
    context = _with_shared(context, name, part, recipe.shared)
    experts, log, backbone, corpus = replace(recipe.experts, seed=seed), context.log, context.backbone, part(context.corpus)
    key = _digest([backbone.fingerprint, backbone.slug, context.contents, ASSIGNMENT, asdict(experts)])
    folder = context.folder("folds") / f"{name}-seed{seed}-{key}"
    if not (folder / INDEX_FILE).is_file():
        training, tasks = ExpertTraining.begin(corpus, experts, folder, log), discover(corpus, experts)
        training.train(zip(tasks, count()), folder.name)
        save_repository(training.repository(tasks, measured=False), folder)
    repository = load_repository(folder, backbone.layout, backbone.fingerprint, backbone.shared)
    file = folder / f"generator-{_digest(asdict(recipe.generator))}.safetensors"
    if not file.is_file():
        train_generator(file, repository, folder, recipe.generator, log)
    return Trained(context, SGLora(backbone, repository, load_generator(file, backbone.fingerprint)), folder)


def _with_shared(context: ExperimentContext, name: str, part: Part, recipe: BothHeadsRecipe) -> ExperimentContext:
    """The context of a backbone with a shared LoRA of this part alone; unchanged if the backbone has no shared LoRA."""
    backbone = context.backbone
    if not isinstance(backbone, EmbeddedBackbone) or backbone.shared is None:
        return context
    key = _digest([backbone.with_shared(None).fingerprint, context.contents, ASSIGNMENT, asdict(recipe)])
    file = context.folder("folds") / f"shared-{name}-{key}.safetensors"
    paper = backbone.with_shared(None).adapting("photos")
    photos = context.data, paper, context.cache, context.log, recipe.views
    shared = kept_run(file, lambda: part(load_corpus(*photos)), paper, recipe, context.log)
    return replace(context, backbone=backbone.with_shared(shared))


def _digest(content: Any) -> str:
    return digest(json.dumps(content))[:8]
