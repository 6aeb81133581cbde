"""Five folds over tasks: what each may be trained on, and what was trained (docs/design.md, section 5).

In a fold, no photo of a held-out task trains the shared part, an expert, the mixer or the confidence. Each trained part is
kept, so that an interrupted run resumes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors.torch import load_file

from core.backbones import EMBEDDED
from core.backbones.base import Backbone
from core.common.digest import digest
from core.common.errors import DataError
from core.common.progress import Bar
from core.experiments.context import ExperimentContext
from core.experiments.held_tasks import HeldTask, domain_tasks, scene_tasks
from core.experts.files import INDEX_FILE, load_repository, save_repository
from core.sglora.engine import SGLora
from core.sglora.generated import Generator
from core.sglora.generator import load_generator
from core.training.confidence import calibrate
from core.training.corpus import Corpus, draw
from core.training.discovery import discover
from core.training.distributed import Processes
from core.training.experts import ExpertRecipe, TrainedExpert, assemble, keep, recipe_for, shared_part, train_own_part
from core.training.generator import GeneratorRecipe, fit_generator
from core.training.mixer import MixerRecipe, fit_mixer
from core.training.mixer import recipe_for as mixing_for

T = TypeVar("T")
R = TypeVar("R")
FOLDS = 5
# Another text deals the tasks differently: a recipe is measured on folds that did not choose it.
ASSIGNMENT = "folds of mixing by closeness"


@dataclass(frozen=True)
class FoldRecipe:
    """Trainings of one fold; shorter than the shipped ones, so that five folds fit into hours on two cores."""

    experts: ExpertRecipe = field(
        default_factory=lambda: ExpertRecipe(shared_steps=2000, steps=60, keyword=60, fine=110, classes=20)
    )
    mixer: MixerRecipe = field(default_factory=MixerRecipe)
    cvae: GeneratorRecipe = field(default_factory=GeneratorRecipe)

    @staticmethod
    def of(backbone: Backbone) -> FoldRecipe:
        """The recipe that fits a backbone: CLIP trains as its shipped experts do, on a GPU."""
        return FoldRecipe() if backbone.slug == EMBEDDED else FoldRecipe(recipe_for(backbone), mixing_for(backbone))


@dataclass(frozen=True)
class PreparedFold:
    """What was trained without the held-out tasks.

    Attributes:
        held: held-out tasks. engine: with the mixer. cvae: the paper's generator, trained on the same experts.
    """

    held: list[HeldTask]
    engine: SGLora
    cvae: Generator


def shared_out(context: ExperimentContext, pieces: Sequence[T], make: Callable[[T], R]) -> list[R]:
    """What ``make`` makes of each piece, in order; the processes of `accelerate launch` each begin with a part of them.

    Args:
        make: keeps what it made in the cache, which all processes see, and finds it there.
    """
    processes = Processes.here()
    context.backbone.to(processes.device)
    processes.one_after_first(lambda: context.corpus)
    for piece in processes.share(pieces):
        make(piece)
    processes.wait()
    return [make(piece) for piece in pieces]


def split(corpus: Corpus, fold: int) -> tuple[list[HeldTask], Corpus]:
    """The held-out tasks of a fold, and the corpus in which none of their photos trains or is watched.

    Raises:
        DataError: fewer tasks than folds.
    """
    held: list[HeldTask] = []
    for tasks in (scene_tasks(corpus), domain_tasks(corpus)):
        held += sorted(tasks, key=lambda t: draw(f"{ASSIGNMENT} {t.name}"))[fold::FOLDS]
    if not held:
        raise DataError(f"The data has too few tasks to hold them out in {FOLDS} folds.")
    seen = np.ones(len(corpus), dtype=bool)
    seen[np.concatenate([t.rows for t in held])] = False
    return held, replace(corpus, train=corpus.train & seen, watched=corpus.watched & seen)


def prepare_fold(context: ExperimentContext, fold: int, recipe: FoldRecipe | None = None, seed: int = 0) -> PreparedFold:
    """Train a fold's shared part, experts, confidence and generators, or read what an earlier run kept.

    Args:
        seed: of the shared part and of the experts.
    """
    backbone, recipe = context.backbone, recipe or FoldRecipe.of(context.backbone)
    experts = replace(recipe.experts, seed=seed)
    held, corpus = split(context.corpus, fold)
    folder = fold_folder(context, fold, experts)
    if not (folder / INDEX_FILE).is_file():
        _train_fold(context, corpus, experts, folder)
    repository = load_repository(folder, backbone.layout, backbone.fingerprint)
    mixer, cvae = (
        folder / f"{name}-{_digest(asdict(r))}.safetensors" for name, r in (("mixer", recipe.mixer), ("cvae", recipe.cvae))
    )
    if not mixer.is_file():
        fit_mixer(backbone, corpus, repository, corpus.watched, recipe.mixer, context.log).save(mixer)
    if not cvae.is_file():
        fit_generator(backbone, repository, recipe.cvae, context.log).save(cvae)
    written, decoded = (load_generator(file, backbone.fingerprint) for file in (mixer, cvae))
    return PreparedFold(held, SGLora(backbone, repository, written), decoded)


def fold_folder(context: ExperimentContext, fold: int, recipe: ExpertRecipe) -> Path:
    """Where the trained parts of a fold are kept."""
    key = _digest([context.backbone.fingerprint, str(context.data.resolve()), ASSIGNMENT, asdict(recipe)])
    return context.folder("folds") / f"fold{fold}-seed{recipe.seed}-{key}"


def _digest(content: Any) -> str:
    return digest(json.dumps(content))[:8]


def _train_fold(context: ExperimentContext, corpus: Corpus, recipe: ExpertRecipe, folder: Path) -> None:
    backbone, log = context.backbone, context.log
    folder.mkdir(parents=True, exist_ok=True)
    shared = shared_part(backbone, corpus, recipe, folder, log)
    tasks = discover(corpus, corpus.train, backbone, recipe.discovery)
    objective = recipe.objective(backbone, corpus, corpus.train)
    trained = []
    bar = Bar(folder.name, len(tasks), log, "experts")
    for number, task in enumerate(tasks):
        file = folder / f"own-{number}.safetensors"
        if not file.is_file():
            own = train_own_part(objective, task.rows, shared, recipe, number)
            keep(file, {"mean": own.mean, "std": own.std})
        trained.append(TrainedExpert(*(load_file(file)[k] for k in ("mean", "std"))))
        bar.to(number + 1)
    bar.close()
    repository = assemble(backbone, corpus, tasks, trained, shared, recipe, log, measured=False)
    repository = calibrate(backbone, corpus, repository, log)
    save_repository(repository, folder)
    for number in range(len(tasks)):
        (folder / f"own-{number}.safetensors").unlink()
