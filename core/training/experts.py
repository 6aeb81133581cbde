"""Train experts: expert LoRAs on top of one shared LoRA, all with a penalty for forgetting (paper, expert onboarding).

The shared LoRA is one LoRA for everything (``core.training.shared_lora``). Experts take ``share`` of it; an expert LoRA, of its
own rank, learns what is special about a topic. All expert LoRAs have one A, the widest directions of each linear's inputs
(EVA, arXiv 2410.07170), and train B alone, so that their mean is their merge (docs/design.md, section 2). Without a shared LoRA
(``shared_steps`` 0), an expert is this LoRA alone, as in the paper.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from core.backbones.base import Backbone
from core.backbones.description import embed_expert
from core.backbones.inputs import second_moments, widest_directions
from core.backbones.lora import Lora, LoraLayout, initial_vector
from core.backbones.lora_algebra import merge
from core.common.digest import digest
from core.common.errors import DataError
from core.common.progress import Bar, Log, silent
from core.common.tensor_files import write_tensors
from core.data.folder import contents
from core.experts.files import save_repository
from core.retrieval.popularity import spread_rows
from core.retrieval.suggest import fit_sentences
from core.sglora.repository import Expert, ExpertRepository
from core.sglora.subspace import Basis
from core.training.closeness import closeness_threshold
from core.training.corpus import Corpus, draw, load_corpus
from core.training.descent import descend
from core.training.discovery import ExpertTask, described, discover
from core.training.forgetting import forgetting
from core.training.recipe import ExpertRecipe
from core.training.shared_lora import train_shared
from core.training.snapshots import read_snapshots, snapshots_file

ROUNDS = 100  # of the training photos, at most, for the shared LoRA
INPUTS = 4096  # photos, or texts of as many photos, that choose the frozen A
FORGETTING_PHOTOS = 300  # most photos of each set of class names, to measure an expert on
TOPIC_PHOTOS = 256  # most photos of the expert's own topic
FEWEST_PHOTOS = 8  # a topic with fewer is not measured


def shared_lora(corpus: Corpus, recipe: ExpertRecipe, runs: Path, log: Log) -> Lora | None:
    """The backbone's shared LoRA; without one, that of the recipe, trained once, kept in ``runs`` and scaled by
    ``recipe.share``. None: neither has one."""
    if corpus.backbone.shared is not None:
        return corpus.backbone.shared
    if not recipe.shared_steps:
        return None
    layout = LoraLayout(corpus.backbone.layout.modules, recipe.shared_rank)
    file = runs / "shared.safetensors"
    if not file.is_file():
        steps = min(recipe.shared_steps, ROUNDS * int(corpus.train.sum()) // recipe.shared_batch)
        vector = train_shared(recipe.shared_objective(corpus), layout, steps, recipe.shared_lr, 1.0, recipe.seed, log)
        write_tensors(file, {"shared": vector})
    return Lora.from_vector(layout, load_file(file)["shared"]).scaled(recipe.share)


def expert_layout(corpus: Corpus, recipe: ExpertRecipe, runs: Path, shared: Lora | None) -> LoraLayout:
    """The layout of expert LoRAs. Its frozen A, kept in ``runs``: the widest directions of each linear's inputs over texts (or
    photos) that train, under the shared LoRA."""
    layout, file = corpus.backbone.layout, runs / "frozen-a.safetensors"
    if not file.is_file():
        rng, rows = np.random.default_rng(recipe.seed), np.flatnonzero(corpus.train)
        rows = torch.from_numpy(rng.choice(rows, min(INPUTS, len(rows)), replace=False))
        if layout.moves_texts:
            prefixes = corpus.texts[torch.tensor([int(rng.choice(corpus.own_texts[row])) for row in rows.tolist()])]
        else:
            prefixes = corpus.prefixes[rows]
        moments = second_moments(corpus.backbone, layout.modules, prefixes, shared)
        write_tensors(file, {name: widest_directions(moment, recipe.rank) for name, moment in moments.items()})
    return layout.frozen(load_file(file))


@dataclass(frozen=True)
class ExpertTraining:
    """A training of experts: its photos, and what all its experts have in common. ``runs`` keeps trained parts, for interrupted
    and later runs."""

    corpus: Corpus
    recipe: ExpertRecipe
    runs: Path
    layout: LoraLayout  # of expert LoRAs, with their A
    shared: Lora | None  # under each of them
    log: Log = print

    @staticmethod
    def begin(corpus: Corpus, recipe: ExpertRecipe, runs: Path, log: Log) -> ExpertTraining:
        """Train what experts have in common, or read it."""
        shared = shared_lora(corpus, recipe, runs, log)
        return ExpertTraining(corpus, recipe, runs, expert_layout(corpus, recipe, runs, shared), shared, log)

    def train(self, tasks: Iterable[tuple[ExpertTask, int]], title: str) -> None:
        """Train the expert LoRA of each (task, seed) that has no snapshots yet. Other processes may train some of them at the
        same time, so each takes them in an order of its own."""
        left = [(task, seed) for task, seed in tasks if not snapshots_file(self.runs, task.name).is_file()]
        random.shuffle(left)
        with Bar(title, len(left), self.log, "experts") as bar:
            for done, (task, seed) in enumerate(left, 1):
                file = snapshots_file(self.runs, task.name)
                if not file.is_file():
                    write_tensors(file, {"snapshots": self.snapshots(task.rows, seed)})
                bar.to(done, task.name)

    def snapshots(self, rows: np.ndarray, seed: int) -> Tensor:
        """Train an expert LoRA on the photos at these rows. Returns the last snapshots [M, P] (paper: M = 100), in float16."""
        recipe, objective = self.recipe, self.recipe.objective(self.corpus)
        vector = torch.nn.Parameter(initial_vector(self.layout, seed))
        optimizer = torch.optim.Adam([vector], lr=recipe.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps, recipe.lr / 10)
        rng = np.random.default_rng(seed)
        last = deque[Tensor](maxlen=recipe.snapshots)
        for _ in range(recipe.steps):
            descend(objective.loss(rows, self.whole(vector), rng), optimizer, schedule, [vector])
            last.append(vector.detach().clone())
        return torch.stack([*last]).half().cpu()

    def whole(self, vector: Tensor) -> Lora:
        """An expert LoRA [P] on top of the shared LoRA."""
        own = Lora.from_vector(self.layout, vector)
        return merge([self.shared, own], [1.0, 1.0]) if self.shared else own

    def repository(self, tasks: Sequence[ExpertTask], measured: bool = True) -> ExpertRepository:
        """The repository of trained experts. If ``measured``, each entry gets its recalls and its forgetting, on photos that
        trained nothing."""
        corpus, recipe, backbone = self.corpus, self.recipe, self.corpus.backbone
        trained = read_snapshots(self.runs, [task.name for task in tasks])
        keys = torch.stack([embed_expert(backbone, t.wordings) for t in tasks])
        means = torch.stack([snapshots.float().mean(0) for snapshots in trained])
        basis = Basis.fit(means)
        means = basis.decode(basis.encode(means))  # as the repository stores them
        entries = []
        with Bar("measuring", len(tasks), self.log if measured else silent, "experts") as bar:
            for number, (task, mean, key) in enumerate(zip(tasks, means, keys, strict=True), 1):
                about = (task.name, task.description, task.group, task.source, len(task.rows), recipe.seed, recipe.snapshots)
                entry = Expert(*about, {}, {}, task.classes, keywords=task.keywords)
                entries.append(self._measured(entry, mean, key) if measured else entry)
                bar.to(number)
        repository = ExpertRepository(
            backbone.fingerprint,
            self.layout,
            tuple(entries),
            basis,
            means,
            torch.stack([basis.encode(snapshots.float()).var(0, correction=0) for snapshots in trained]),
            keys,
            {"recipe": asdict(recipe), "tasks": len(tasks)},
            backbone.choice,
            shared=self.shared,
            photo_sentences=fit_sentences(corpus.base[corpus.train], torch.from_numpy(corpus.photo_sentences[corpus.train])),
        )
        return replace(repository, closeness_threshold=closeness_threshold(repository))

    def _measured(self, entry: Expert, mean: Tensor, key: Tensor) -> Expert:
        corpus, lora, rows = self.corpus, self.whole(mean), photos_like(self.corpus, entry, key)
        enough = len(rows) >= FEWEST_PHOTOS
        before, after = (corpus.recalls(rows, adapter) if enough else {} for adapter in (None, lora))
        return replace(entry, before=before, after=after, forgetting=forgetting(corpus, lora, FORGETTING_PHOTOS))


def train_experts(
    data: Path, out: Path, cache: Path, backbone: Backbone, recipe: ExpertRecipe, log: Log, descriptions: Mapping[str, str]
) -> ExpertRepository:
    """Train the shared LoRA, find the experts' tasks in ``data``, train their LoRAs, and write the repository to ``out``.

    ``cache`` keeps trained parts; processes that share it share the experts. ``descriptions``: by expert's name, as
    ``read_descriptions`` returns them. Raises DataError: when the data has no task.
    """
    corpus = load_corpus(data, backbone, cache, log, recipe.views)
    training = ExpertTraining.begin(corpus, recipe, runs_folder(cache, backbone, recipe, data), log)
    tasks = discover(corpus, recipe)
    if strangers := descriptions.keys() - {t.name for t in tasks}:
        log(f"{len(strangers)} descriptions match no expert, for example {min(strangers)}")
    tasks = described(tasks, descriptions)
    if not tasks:
        raise DataError(f"No topic or group of classes with enough photos to train an expert was found in {data}.")
    training.train(((task, int(2**32 * draw(task.name))) for task in tasks), f"experts on {backbone.device}")
    repository = training.repository(tasks)
    save_repository(repository, out)
    log(f"{len(repository)} experts were written to {out}")
    return repository


def photos_like(corpus: Corpus, expert: Expert, key: Tensor) -> np.ndarray:
    """Rows of validation photos of an expert's topic: photos of its classes, or the captioned photos closest to its embedding
    ``key`` [s]. Their share of the validation photos is the expert's share of the training photos."""
    if expert.classes:
        own = np.flatnonzero(corpus.validation & ~corpus.captioned & (corpus.domains == expert.group))
        rows = own[[corpus.samples[row].label in expert.classes for row in own]]
    else:
        alike = corpus.captioned & (corpus.domains == ("" if expert.group == "scenes" else expert.group))
        pool = np.flatnonzero(corpus.validation & alike)
        share = expert.images / max(int((corpus.train & alike).sum()), 1)
        closest = np.argsort(-(corpus.photo_sentences[pool] @ key.numpy()))
        rows = np.sort(pool[closest[: max(FEWEST_PHOTOS, round(share * len(pool)))]])
    return rows[spread_rows(len(rows), TOPIC_PHOTOS)]


def runs_folder(cache: Path, backbone: Backbone, recipe: ExpertRecipe, data: Path) -> Path:
    """The folder that keeps trained parts, for interrupted and later runs on the same data."""
    key = json.dumps([backbone.fingerprint, backbone.slug, asdict(recipe), contents(data)])
    return cache / "experts" / digest(key)[:16]


def runs_of(repository: ExpertRepository, backbone: Backbone, cache: Path, data: Path) -> Path:
    """The ``runs_folder`` of a repository's training."""
    return runs_folder(cache, backbone, ExpertRecipe(**repository.notes.get("recipe", {})), data)
