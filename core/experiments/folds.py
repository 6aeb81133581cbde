"""Five folds over tasks (docs/design.md, section 5).

In a fold, no photo of a held-out task trains the shared LoRA, an expert or the generator. Trained parts are kept on disk, so
that an interrupted run resumes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from core.backbones import EMBEDDED
from core.backbones.base import Backbone
from core.backbones.embedded import EmbeddedBackbone
from core.common.digest import digest
from core.common.errors import DataError
from core.experiments.context import ExperimentContext
from core.experiments.held_tasks import HeldTask, captioned_domain_tasks, domain_tasks, scene_tasks
from core.experts.files import INDEX_FILE, load_repository, save_repository
from core.experts.generator_file import load_generator
from core.sglora.engine import SGLora
from core.training.corpus import Corpus, draw, load_corpus
from core.training.discovery import discover
from core.training.experts import assemble, expert_layout, shared_lora, train_expert_loras
from core.training.generator import GeneratorRecipe, train_generator
from core.training.recipe import EMBEDDED_RECIPE, ExpertRecipe, recipe_for
from core.training.shared_lora import BothHeadsRecipe, kept_run
from core.training.snapshots import snapshots_file

FOLDS = 5
ASSIGNMENT = "folds of both heads"  # another text gives other folds: measure a recipe on folds that did not choose it


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
class PreparedFold:
    """A trained fold."""

    held: list[HeldTask]
    engine: SGLora  # no photo of the held-out tasks trained its experts and generator
    corpus: Corpus  # all photos, in the engine's backbone


def split(corpus: Corpus, fold: int) -> tuple[list[HeldTask], Corpus]:
    """The held-out tasks of a fold, and the corpus in which none of their photos trains or validates. Raises DataError: when
    the fold has no task."""
    held: list[HeldTask] = []
    for tasks in (scene_tasks(corpus), [*domain_tasks(corpus), *captioned_domain_tasks(corpus)]):
        held += sorted(tasks, key=lambda t: draw(f"{ASSIGNMENT} {t.name}"))[fold::FOLDS]
    if not held:
        raise DataError("CORE_FEW_TASKS", folds=FOLDS)
    seen = np.ones(len(corpus), dtype=bool)
    seen[np.concatenate([t.rows for t in held])] = False
    return held, replace(corpus, train=corpus.train & seen, validation=corpus.validation & seen)


def prepare_fold(context: ExperimentContext, fold: int, recipe: FoldRecipe | None = None, seed: int = 0) -> PreparedFold:
    """Train a fold's shared LoRA, experts and generator, or read those that an earlier run kept.

    ``seed``: of the experts, and of a shared LoRA that their recipe trains. The shared LoRA of both heads takes longest, and is
    trained once per fold.
    """
    recipe = recipe or FoldRecipe.of(context.backbone)
    experts, log = replace(recipe.experts, seed=seed), context.log
    backbone, everything = fold_backbone(context, fold, recipe.shared), context.corpus
    if backbone is not context.backbone:
        everything = load_corpus(context.data, backbone, context.cache, log)
    held, corpus = split(everything, fold)
    key = _digest([backbone.fingerprint, backbone.slug, context.contents, ASSIGNMENT, asdict(experts)])
    folder = context.folder("folds") / f"fold{fold}-seed{seed}-{key}"
    if not (folder / INDEX_FILE).is_file():
        shared = shared_lora(corpus, experts, folder, log)
        layout = expert_layout(corpus, experts, folder, shared)
        tasks = discover(corpus, experts)
        left = [(task, number) for number, task in enumerate(tasks) if not snapshots_file(folder, task.name).is_file()]
        train_expert_loras(experts.objective(corpus), left, folder, layout, shared, experts, folder.name, log)
        save_repository(assemble(corpus, tasks, folder, layout, shared, experts, log, measured=False), folder)
    repository = load_repository(folder, backbone.layout, backbone.fingerprint, backbone.shared)
    file = folder / f"generator-{_digest(asdict(recipe.generator))}.safetensors"
    if not file.is_file():
        train_generator(file, repository, folder, recipe.generator, log)
    return PreparedFold(held, SGLora(backbone, repository, load_generator(file, backbone.fingerprint)), everything)


def fold_backbone(context: ExperimentContext, fold: int, recipe: BothHeadsRecipe) -> Backbone:
    """The backbone with a shared LoRA that no photo of the held-out tasks trained; unchanged if it has no shared LoRA."""
    backbone = context.backbone
    if not isinstance(backbone, EmbeddedBackbone) or backbone.shared is None:
        return backbone
    heads = backbone.with_shared(None)
    key = _digest([heads.fingerprint, context.contents, ASSIGNMENT, asdict(recipe)])
    file = context.folder("folds") / f"shared-fold{fold}-{key}.safetensors"
    paper = heads.adapting("photos")

    def corpus() -> Corpus:
        return split(load_corpus(context.data, paper, context.cache, context.log, recipe.views), fold)[1]

    return backbone.with_shared(kept_run(file, corpus, paper, recipe, context.log))


def _digest(content: Any) -> str:
    return digest(json.dumps(content))[:8]
