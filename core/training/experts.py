"""Train experts: one rank-2 LoRA per task with peft (paper, expert onboarding).

Experts of everyday scenes begin at a shared start: one LoRA trained a little on all of them, which is how captions talk,
whatever they talk about. What such an expert adds is its own part. Special domains have no part in how captions talk:
their experts begin at nothing, and go on for as long as classes that they were not trained on gain too. All begin from one
draw of A, so that they live in one gauge (DESIGN 3) and their parameters may be averaged.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.backbones import EMBEDDED
from core.backbones.base import Backbone
from core.backbones.lora import Lora, LoraLayout, initial_vector
from core.common.device import sent, training_autocast
from core.common.errors import DataError
from core.common.metrics import measure
from core.sglora.repository import Expert, ExpertRepository
from core.training.confidence import leave_one_out_gains, with_confidence
from core.training.distributed import Processes
from core.training.draws import draw
from core.training.early_stopping import SnapshotWindow
from core.training.losses import contrastive
from core.training.task_dataset import Pool, load_pool
from core.training.tasks import EVERYDAY, Task

Log = Callable[[str], None]


@dataclass(frozen=True)
class ExpertRecipe:
    """How experts are trained. ``snapshots`` is M; ``check`` the number of steps between two looks at the stop photos;
    ``tokens`` how many patches of a photo training looks at (all, where there are fewer); ``fresh_…`` goes for experts that
    begin at nothing."""

    rank: int = 2
    scale: float = 20.0
    batch: int = 64
    tokens: int = 40
    shared_steps: int = 600
    shared_lr: float = 6e-3
    steps: int = 48
    lr: float = 2e-3
    check: int = 16
    snapshots: int = 16
    patience: int = 2
    fresh_steps: int = 160
    fresh_lr: float = 3e-3
    fresh_check: int = 8
    fresh_patience: int = 3
    stop_photos: int = 128
    seed: int = 0

    def fresh(self) -> ExpertRecipe:
        """The recipe of an expert that begins at nothing."""
        own = {"steps": self.fresh_steps, "lr": self.fresh_lr, "check": self.fresh_check, "patience": self.fresh_patience}
        return replace(self, **own)


# For CLIP: its own temperature, all patches, and the paper's M = 100.
CLIP_RECIPE = ExpertRecipe(
    scale=100.0,
    tokens=100_000,
    snapshots=100,
    steps=400,
    check=50,
    shared_lr=1e-3,
    lr=5e-4,
    fresh_steps=400,
    fresh_check=50,
    fresh_lr=5e-4,
)


def recipe_for(backbone: Backbone) -> ExpertRecipe:
    """The recipe that fits a backbone."""
    return ExpertRecipe() if backbone.slug == EMBEDDED else CLIP_RECIPE


@dataclass(frozen=True)
class TrainedExpert:
    """An expert's numbers: mean [P], standard deviation [P] and snapshots [M, P] of its last steps."""

    mean: Tensor
    std: Tensor
    snapshots: Tensor

    @staticmethod
    def of(snapshots: Tensor) -> TrainedExpert:
        """From snapshots [M, P]."""
        return TrainedExpert(snapshots.mean(0), snapshots.std(0, correction=0), snapshots)


def task_loss(
    head: nn.Module, pool: Pool, task: Task, recipe: ExpertRecipe, rng: np.random.Generator, **kwargs: object
) -> Tensor:
    """Symmetric contrastive loss of one batch of a task."""
    batch = pool.batch(task, recipe.batch, rng)
    device = next(head.parameters()).device
    keep = torch.from_numpy(rng.permutation(head.patches)[: recipe.tokens]).to(device)
    with training_autocast(device):
        images = head(sent(batch.maps, device).float(), keep=keep if recipe.tokens < head.patches else None, **kwargs)
    return contrastive(images, batch.texts.to(device), batch.positive.to(device), recipe.scale)


def recall_sum(values: dict[str, object]) -> float:
    """R@1 and R@5, both directions, summed: what decides whether an expert beats zero-shot."""
    return sum(values[way][k] for way in ("i2t", "t2i") for k in ("R@1", "R@5"))  # type: ignore[index]


def train_shared(backbone: Backbone, pool: Pool, tasks: Sequence[Task], recipe: ExpertRecipe, log: Log = print) -> Tensor:
    """One LoRA [P] trained on several tasks together, a task a batch.

    Larger tasks come more often, by the root of their size; with EVERYDAY among the tasks, half of all batches are its.
    """
    layout = LoraLayout(backbone.layout.modules, recipe.rank)
    vector = torch.nn.Parameter(initial_vector(layout, recipe.seed))
    optimizer = torch.optim.Adam([vector], lr=recipe.shared_lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.shared_steps, recipe.shared_lr / 10)
    rng = np.random.default_rng(recipe.seed)
    share = np.array([0.0 if t.name == EVERYDAY else len(t.train) ** 0.5 for t in tasks])
    if not share.all():
        share[share == 0] = max(share.sum(), 1.0)
    started, total = time.monotonic(), 0.0
    for step in range(recipe.shared_steps):
        task = tasks[rng.choice(len(tasks), p=share / share.sum())]
        loss = task_loss(backbone.adapted, pool, task, recipe, rng, lora=Lora.from_vector(layout, vector))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += float(loss.detach())
        if (step + 1) % 50 == 0:
            left = (time.monotonic() - started) / (step + 1) * (recipe.shared_steps - step - 1)
            log(f"shared part: step {step + 1}/{recipe.shared_steps}, loss {total / 50:.3f}; {left:.0f} s left")
            total = 0.0
    return vector.detach()


def shared_tasks(tasks: Sequence[Task]) -> list[Task]:
    """What the shared start is trained on: everyday scenes. Special domains have little in common, and pull it about."""
    return [t for t in tasks if t.group == "scenes"] or list(tasks)


class _PeftHead:
    """A private copy of the vision head with a peft LoRA, and its weights as a vector."""

    def __init__(self, head: nn.Module, layout: LoraLayout, start: Tensor) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        config = LoraConfig(r=layout.rank, lora_alpha=layout.rank, target_modules=[m.name for m in layout.modules])
        self.model = inject_adapter_in_model(config, copy.deepcopy(head))
        modules = dict(self.model.named_modules())
        self.parts = [getattr(modules[m.name], f"lora_{x}")["default"].weight for m in layout.modules for x in "AB"]
        with torch.no_grad():
            for part, value in zip(self.parts, start.split([p.numel() for p in self.parts]), strict=True):
                part.copy_(value.view_as(part))

    def vector(self) -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self.parts]).cpu()


def begins_fresh(tasks: Sequence[Task | Expert]) -> list[bool]:
    """For each task (or the expert of one), whether its expert begins at nothing: special domains beside everyday scenes.
    Without scenes there is a shared start of all tasks, and every expert begins there."""
    scenes = any(t.group == "scenes" for t in tasks)
    return [scenes and t.group != "scenes" for t in tasks]


def stop_rows(pool: Pool, task: Task, most: int) -> np.ndarray:
    """Up to ``most`` photos that decide when a task's training stops. With classes among them that train nothing, these are
    half of it: an expert is for photos like its own, not for its own classes alone."""
    trained = np.unique(pool.labels[task.train])
    new = ~np.isin(pool.labels[task.stop], trained) & bool(task.classes)
    if not new.any() or new.all():
        return task.stop[:most]
    share = min(most // 2, int(new.sum()), int((~new).sum()))
    return np.concatenate([_spread(task.stop[part], share) for part in (new, ~new)])


def _spread(rows: np.ndarray, number: int) -> np.ndarray:
    """So many of the rows, from all over: rows of label tasks lie class by class."""
    return rows[np.linspace(0, len(rows) - 1, number).astype(int)]


def train_expert(backbone: Backbone, pool: Pool, task: Task, start: Tensor | None, recipe: ExpertRecipe) -> TrainedExpert:
    """Fine-tune one task; the step at which stop photos fare best decides which snapshots count.

    Args:
        start: [P] where it begins. None: at nothing, with ``recipe.fresh()``.
    """
    layout = LoraLayout(backbone.layout.modules, recipe.rank)
    if start is None:
        start, recipe = initial_vector(layout, recipe.seed), recipe.fresh()
    peft = _PeftHead(backbone.adapted, layout, start)
    optimizer = torch.optim.Adam(peft.parts, lr=recipe.lr)
    rng = np.random.default_rng([recipe.seed, int(2**32 * draw(task.name))])
    maps, texts, relevance = pool.evaluation(stop_rows(pool, task, recipe.stop_photos))
    positive = torch.from_numpy(relevance.matrix)

    def stop_loss(vector: Tensor) -> float:
        # The loss, not recall: on a dozen photos recall moves in leaps and stops training by chance.
        images = backbone.suffix(maps, Lora.from_vector(layout, vector))
        return float(contrastive(images, texts, positive, recipe.scale))

    window = SnapshotWindow(start, recipe.snapshots, stop_loss, recipe.patience)
    for step in range(recipe.steps):
        loss = task_loss(peft.model, pool, task, recipe, rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        window.push(peft.vector())
        if (step + 1) % recipe.check == 0 and window.finished():
            break
    return TrainedExpert.of(window.best)


def train_experts(
    data: Path, out: Path, cache: Path, backbone: Backbone, recipe: ExpertRecipe = ExpertRecipe(), log: Log = print
) -> ExpertRepository:
    """Find the tasks in ``data``, train the shared start and all experts, write the repository to ``out``.

    Under ``accelerate launch`` each process trains a part of the experts; ``cache`` is a folder that all of them see.
    Experts already trained by an interrupted run with the same recipe and backbone are not trained again. An expert that
    does not beat zero-shot on its test photos is reported and left out.

    Raises:
        DataError: no task in the data, no expert that beats zero-shot, or a cache that the processes do not share.
    """
    processes = Processes.here()
    backbone.to(processes.device)
    told = log if processes.first else _silent
    pool = processes.one_after_first(lambda: load_pool(data, backbone, cache, told))
    runs = runs_folder(cache, backbone, recipe)
    start = processes.one_after_first(lambda: _shared_start(backbone, pool, recipe, runs, told))
    left = processes.share([i for i, t in enumerate(pool.tasks) if not (runs / f"{t.name}.safetensors").is_file()])
    who = f"process {processes.index + 1} of {processes.count}: " if processes.count > 1 else ""
    log(f"{who}{len(left)} of {len(pool.tasks)} experts to train on {processes.device}")
    began, fresh = time.monotonic(), begins_fresh(pool.tasks)
    for done, i in enumerate(left, 1):
        task = pool.tasks[i]
        trained = TrainedExpert.of(
            train_expert(backbone, pool, task, None if fresh[i] else start, recipe).snapshots.half().float()
        )
        found = _figures(backbone, pool, task, trained, start, recipe)
        keep(runs / f"{task.name}.safetensors", {"snapshots": trained.snapshots.half()}, found)
        seconds = (time.monotonic() - began) / done * (len(left) - done)
        log(f"{who}{done}/{len(left)} {_line(_entry(task, trained, found, recipe), found)}; {seconds:.0f} s left")
    processes.wait()
    absent = [t.name for t in pool.tasks if not (runs / f"{t.name}.safetensors").is_file()]
    if absent:
        raise DataError(
            f"Experts that other processes trained are not in {runs} ({', '.join(absent[:3])}): give all machines one --cache "
            "folder that they share."
        )
    experts, won, numbers, lost = [], [], [], []
    for task in pool.tasks:
        trained, found = _trained(runs / f"{task.name}.safetensors")
        found = found or _figures(backbone, pool, task, trained, start, recipe)
        if recall_sum(found["after"]) > recall_sum(found["before"]):
            experts.append(_entry(task, trained, found, recipe))
            won.append(task)
            numbers.append((trained.mean, trained.std))
        else:
            lost.append(task.name)
    if not experts:
        pool.tell_unreadable(told)
        raise DataError(f"None of the {len(pool.tasks)} experts beat zero-shot on photos that it was not trained on.")
    means, stds = (torch.stack(part) for part in zip(*numbers, strict=True))
    embeddings = backbone.encode_sentence([e.description for e in experts])
    notes = {"recipe": asdict(recipe), "tasks": len(pool.tasks), "won": len(experts)}
    layout = LoraLayout(backbone.layout.modules, recipe.rank)
    parts = (means, stds, embeddings, start, notes, backbone.choice)
    repository = ExpertRepository(backbone.fingerprint, layout, tuple(experts), *parts)
    if processes.first:
        gains = leave_one_out_gains(backbone, pool, repository, won) if len(won) > 1 else []
        repository = with_confidence(backbone, repository, gains)
        repository.save(out)
    told(f"{len(experts)} of {len(pool.tasks)} experts beat zero-shot and were written to {out}")
    if lost:
        told(f"not shipped: {', '.join(lost)}")
    pool.tell_unreadable(told)
    return repository


def _shared_start(backbone: Backbone, pool: Pool, recipe: ExpertRecipe, runs: Path, log: Log) -> Tensor:
    file = runs / "shared.safetensors"
    if not file.is_file():
        runs.mkdir(parents=True, exist_ok=True)
        (runs / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
        keep(file, {"shared": train_shared(backbone, pool, shared_tasks(pool.tasks), recipe, log)})
    return load_file(file)["shared"]


def _figures(
    backbone: Backbone, pool: Pool, task: Task, trained: TrainedExpert, start: Tensor, recipe: ExpertRecipe
) -> dict[str, Any]:
    """Recalls on the task's test photos: zero-shot ("before"), of the expert ("after") and of the shared start ("shared")."""
    maps, texts, relevance = pool.evaluation(task.test)
    layout = LoraLayout(backbone.layout.modules, recipe.rank)
    loras = {"before": None, "after": Lora.from_vector(layout, trained.mean), "shared": Lora.from_vector(layout, start)}
    return {name: measure(backbone.suffix(maps, lora), texts, relevance) for name, lora in loras.items()}


def _entry(task: Task, trained: TrainedExpert, found: Mapping[str, Any], recipe: ExpertRecipe) -> Expert:
    return Expert(
        name=task.name,
        description=task.description,
        group=task.group,
        source=task.source,
        images=len(task.train),
        seed=recipe.seed,
        snapshots=len(trained.snapshots),
        before=found["before"],
        after=found["after"],
        classes=task.classes,
    )


def _line(expert: Expert, found: Mapping[str, Any]) -> str:
    """One expert's gains in words; its own mean gain and that of the shared start alone in brackets."""
    own, shared = (recall_sum(found[which]) - recall_sum(found["before"]) for which in ("after", "shared"))
    return (
        f"{expert.name}: R@1 {expert.gain(1):+.1f}, R@5 {expert.gain(5):+.1f} "
        f"(own {own / 4:+.1f}, shared start {shared / 4:+.1f}){'' if own > 0 else ' NOT SHIPPED'}"
    )


def _silent(message: str) -> None:
    """The first process says it."""


def keep(file: Path, tensors: dict[str, Tensor], found: Mapping[str, Any] | None = None) -> None:
    """Write a training's result whole or not at all, so that a kill leaves no half file that a next run trusts."""
    partial = file.with_suffix(f".{os.getpid()}.tmp")
    save_file(tensors, partial, metadata={"found": json.dumps(found)} if found else None)
    partial.replace(file)


def _trained(file: Path) -> tuple[TrainedExpert, dict[str, Any]]:
    """What ``keep`` wrote for an expert: its snapshots, and its figures (empty where an older version wrote none)."""
    with safe_open(file, framework="pt") as opened:
        found = json.loads((opened.metadata() or {}).get("found", "{}"))
        return TrainedExpert.of(opened.get_tensor("snapshots").float()), found


def runs_folder(cache: Path, backbone: Backbone, recipe: ExpertRecipe) -> Path:
    """Where snapshots of this backbone and recipe are kept between runs."""
    digest = hashlib.sha256(json.dumps(asdict(recipe)).encode()).hexdigest()[:8]
    return cache / "experts" / f"{backbone.fingerprint}-{digest}"
