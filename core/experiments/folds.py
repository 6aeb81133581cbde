"""Five folds over tasks: what each may be trained on, and what was trained (DESIGN 5).

In a fold, no photo of a held-out task trains the shared start, an expert, the confidence or the generator. Each trained
part is kept under a checksum of all that it was trained with, so that an interrupted run resumes, and an expert that is the
same in several folds is trained once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from core.backbones import EMBEDDED
from core.backbones.base import Backbone
from core.backbones.lora import Lora, LoraLayout
from core.common.errors import DataError
from core.experiments.context import ExperimentContext
from core.sglora.engine import SGLora
from core.sglora.generator import LoraGenerator
from core.sglora.repository import Expert, ExpertRepository
from core.training.confidence import leave_one_out_gains, with_confidence
from core.training.experts import (
    ExpertRecipe,
    TrainedExpert,
    begins_fresh,
    keep,
    recipe_for,
    shared_tasks,
    train_expert,
    train_shared,
)
from core.training.generator import GeneratorRecipe, fit_generator
from core.training.generator import recipe_for as generator_recipe_for
from core.training.task_dataset import Pool, without_photos
from core.training.tasks import EVERYDAY, Task

FOLDS = 5
MIN_TRAIN = 16


@dataclass(frozen=True)
class FoldRecipe:
    """Trainings of one fold; shorter than the shipped ones, so that five folds fit into a few hours on two cores.
    ``single_steps`` is for the one LoRA trained on all seen tasks."""

    experts: ExpertRecipe = field(default_factory=lambda: ExpertRecipe(steps=16, check=8))
    generator: GeneratorRecipe = field(default_factory=GeneratorRecipe)
    single_steps: int = 600

    @staticmethod
    def of(backbone: Backbone) -> FoldRecipe:
        """The recipe that fits a backbone: CLIP trains as its shipped experts do, on a GPU."""
        if backbone.slug == EMBEDDED:
            return FoldRecipe()
        own = recipe_for(backbone)
        return FoldRecipe(own, generator_recipe_for(backbone), own.shared_steps)


@dataclass(frozen=True)
class PreparedFold:
    """What one fold may use.

    Attributes:
        held: held-out tasks. seen: the other tasks, less every photo of a held-out task.
        repository: one expert per seen task, in order; its ``origin`` is the scenes' shared start.
        generator: trained on these experts.
        single: [P] one LoRA trained on all seen tasks together.
        snapshots: per seen task, [M, P].
    """

    held: list[Task]
    seen: list[Task]
    repository: ExpertRepository
    generator: LoraGenerator
    single: Tensor
    snapshots: list[Tensor]

    def engine(self, context: ExperimentContext) -> SGLora:
        """The online phase over this fold's experts and generator."""
        return SGLora(context.backbone, self.repository, self.generator)


def folds(pool: Pool) -> list[list[int]]:
    """Task indexes of each fold: scenes and special domains are dealt in turn; EVERYDAY, all photos, is never held out."""
    dealt = [i for i, t in enumerate(pool.tasks) if t.name != EVERYDAY]
    ordered = sorted(dealt, key=lambda i: (pool.tasks[i].group != "scenes", i * 7919 % 101))
    return [ordered[f::FOLDS] for f in range(FOLDS)]


def split(pool: Pool, fold: int) -> tuple[list[Task], list[Task]]:
    """The held-out tasks of a fold, and the seen ones without any of their photos.

    Raises:
        DataError: fewer tasks than folds, or held-out tasks that leave fewer than two to learn from.
    """
    chosen = set(folds(pool)[fold])
    if not chosen:
        raise DataError(f"The data has {len(pool.tasks)} tasks: to hold them out in {FOLDS} folds, {FOLDS} or more are needed.")
    held = [pool.tasks[i] for i in sorted(chosen)]
    hidden = np.concatenate([rows for t in held for rows in (t.train, t.stop, t.test)])
    seen = without_photos([t for i, t in enumerate(pool.tasks) if i not in chosen], hidden)
    seen = [t for t in seen if len(t.train) >= MIN_TRAIN and len(t.stop)]
    if len(seen) < 2:
        names = ", ".join(t.name for t in held)
        raise DataError(f"Without the photos of {names}, {len(seen)} of {len(pool.tasks)} tasks are left to learn from.")
    return held, seen


def prepare_fold(context: ExperimentContext, fold: int, recipe: FoldRecipe = FoldRecipe(), seed: int = 0) -> PreparedFold:
    """Train a fold's experts, confidence and generator, or read what an earlier run kept.

    Args:
        seed: of the generator's training. Experts have the recipe's.
    """
    pool, backbone = context.pool, context.backbone
    held, seen = split(pool, fold)
    layout = LoraLayout(backbone.layout.modules, recipe.experts.rank)
    start, single = shared_part(context, shared_tasks(seen), recipe.experts), shared_part(context, seen, single_recipe(recipe))
    trained = []
    for number, (task, fresh) in enumerate(zip(seen, begins_fresh(seen), strict=True), 1):
        trained.append(expert_part(context, task, None if fresh else start, recipe.experts))
        if number % 10 == 0:
            context.log(f"fold {fold}: {number} of {len(seen)} experts")
    repository = ExpertRepository(
        backbone.fingerprint,
        layout,
        tuple(Expert(t.name, t.description, t.group, t.source, len(t.train), 0, 0, {}, {}, t.classes) for t in seen),
        torch.stack([t.mean for t in trained]),
        torch.stack([t.std for t in trained]),
        backbone.encode_sentence([t.description for t in seen]),
        start,
    )
    key = _digest(context, "gains", *(t.snapshots.numpy() for t in trained), *(t.description for t in seen))
    gains = context.piece("folds", "leave-one-out", key, lambda: leave_one_out_gains(backbone, pool, repository, seen))
    repository = with_confidence(backbone, repository, gains)
    generator = generator_part(context, seen, trained, recipe, seed, single)
    return PreparedFold(held, seen, repository, generator, single, [t.snapshots for t in trained])


def single_recipe(recipe: FoldRecipe) -> ExpertRecipe:
    """How the one LoRA for all seen tasks is trained."""
    return replace(recipe.experts, shared_steps=recipe.single_steps)


def shared_part(context: ExperimentContext, tasks: Sequence[Task], recipe: ExpertRecipe) -> Tensor:
    """[P] one LoRA trained on these tasks together, from the cache if it is there."""
    key = _digest(context, "shared", *(t.train for t in tasks), recipe)
    return _kept(context, key, lambda: train_shared(context.backbone, context.pool, tasks, recipe, context.log))


def expert_part(context: ExperimentContext, task: Task, start: Tensor | None, recipe: ExpertRecipe) -> TrainedExpert:
    """A task's expert, from the cache if it is there; ``start`` as in ``train_expert``."""
    if start is None:  # then nothing else of the recipe counts
        key = _digest(
            context, task.name, task.train, task.stop, "nothing", replace(recipe.fresh(), shared_steps=0, shared_lr=0.0)
        )
    else:
        key = _digest(context, task.name, task.train, task.stop, start.numpy(), recipe)
    made = _kept(context, key, lambda: train_expert(context.backbone, context.pool, task, start, recipe).snapshots)
    return TrainedExpert.of(made)


def oracle_part(context: ExperimentContext, task: Task, recipe: FoldRecipe = FoldRecipe()) -> Lora:
    """The fine-tuned oracle: a LoRA trained on the task's own photos, from nothing."""
    made = expert_part(context, task, None, recipe.experts)
    return Lora.from_vector(LoraLayout(context.backbone.layout.modules, recipe.experts.rank), made.mean)


def generator_part(
    context: ExperimentContext,
    seen: Sequence[Task],
    trained: Sequence[TrainedExpert],
    recipe: FoldRecipe,
    seed: int,
    shared: Tensor,
) -> LoraGenerator:
    """The generator of these experts and of what they share [P], from the cache if it is there."""
    own = replace(recipe.generator, seed=seed)
    file = _file(
        context, _digest(context, "generator", *(t.snapshots.numpy() for t in trained), shared.numpy(), recipe.experts, own)
    )
    if not file.is_file():
        made = fit_generator(context.backbone, context.pool, seen, trained, recipe.experts, own, context.log, shared=shared)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".tmp")
        made.save(partial)
        partial.replace(file)
    return LoraGenerator.load(file, context.backbone.fingerprint)


def _digest(context: ExperimentContext, *parts: str | np.ndarray | ExpertRecipe | GeneratorRecipe) -> str:
    digest = hashlib.sha256(f"{context.backbone.fingerprint} {context.data.resolve()} {len(context.pool.labels)}".encode())
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update((part if isinstance(part, str) else json.dumps(asdict(part))).encode())
    return digest.hexdigest()[:16]


def _file(context: ExperimentContext, key: str) -> Path:
    return context.folder("folds") / f"{key}.safetensors"


def _kept(context: ExperimentContext, key: str, train: Callable[[], Tensor]) -> Tensor:
    file = _file(context, key)
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        keep(file, {"value": train().contiguous()})
    return load_file(file)["value"]
