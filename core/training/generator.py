"""Train the conditional VAE that writes LoRAs (paper, section on training; leave-one-out as in DESIGN 5).

At run time the target's own expert is never in the repository. So every training example conditions an expert's
snapshots on the prior of the *other* experts, with k, tau, the wording and the set of experts drawn at random: the
generator learns to go from neighbours to a new task. Beside the ELBO, a decoded LoRA is also put to work on the task's
training photos, since LoRAs that are close as vectors need not be close in what they do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from core.backbones import EMBEDDED
from core.backbones.base import Backbone
from core.backbones.lora import Lora, LoraLayout, initial_vector
from core.backbones.lora_algebra import merge
from core.common.errors import RepositoryError
from core.sglora.assembly import Assembly
from core.sglora.cvae import ConditionalVAE, CvaeConfig
from core.sglora.generator import LoraGenerator
from core.sglora.repository import ExpertRepository
from core.sglora.router import SparseRouter
from core.sglora.subspace import Basis
from core.training.conditions import Conditions
from core.training.experts import ExpertRecipe, TrainedExpert, keep, runs_folder, task_loss, train_shared
from core.training.task_dataset import Pool, load_pool
from core.training.tasks import Task, wordings

Log = Callable[[str], None]


def recipe_for(backbone: Backbone) -> GeneratorRecipe:
    """The recipe that fits a backbone: for CLIP the paper's, since nobody has measured another one there."""
    return GeneratorRecipe() if backbone.slug == EMBEDDED else GeneratorRecipe(rank=0, kept=1.0)


@dataclass(frozen=True)
class GeneratorRecipe:
    """How the generator is trained. ``kl`` is lambda; ``function`` weighs the retrieval loss of decoded LoRAs
    against the ``elbo``, once the warm-up, which sees the ELBO alone, is over. ``share`` and ``rank`` are the assembly's
    (rank 0: none, LoRAs are applied as they are decoded, as in the paper); ``shared_steps`` train the part that all tasks
    share. ``kept`` is how much is kept of what the decoder learned to add: what helps the tasks of its experts need not help
    new ones, and tasks that were left out of everything fared better with less."""

    dimensions: int = 80
    latent: int = 16
    hidden: int = 128
    warm_steps: int = 400
    steps: int = 300
    batch: int = 32
    lr: float = 1e-3
    kl: float = 0.01
    elbo: float = 0.1
    function: float = 1.0
    dropout: float = 0.2
    share: float = 0.4
    rank: int = 8
    shared_steps: int = 600
    kept: float = 0.25
    seed: int = 0


def fit_generator(
    backbone: Backbone,
    pool: Pool,
    tasks: Sequence[Task],
    trained: Sequence[TrainedExpert],
    experts: ExpertRecipe,
    recipe: GeneratorRecipe = GeneratorRecipe(),
    log: Log = print,
    leave_one_out: bool = True,
    shared: Tensor | None = None,
) -> LoraGenerator:
    """Train on experts ``trained`` (one per task, same order).

    Coordinates are about the LoRA that does nothing, so that the generator may also scale what all experts share.
    ``warm_steps`` see the ELBO alone (cheap), ``steps`` also the retrieval loss.

    Args:
        leave_one_out: False lets a task's own expert into its condition, as in the paper; for comparison.
        shared: [P] one LoRA trained on all tasks together, for the assembly; None applies LoRAs as they are decoded.

    Raises:
        RepositoryError: fewer than two experts.
    """
    if len(tasks) < 2:
        raise RepositoryError("The generator learns from neighbours: at least two experts are needed.")
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    layout = LoraLayout(backbone.layout.modules, experts.rank)
    means = torch.stack([t.mean for t in trained])
    basis = Basis.fit(means, initial_vector(layout, experts.seed), recipe.dimensions)
    cvae = ConditionalVAE(CvaeConfig(basis.dimensions, recipe.latent, recipe.hidden))
    optimizer = torch.optim.Adam(cvae.parameters(), lr=recipe.lr)
    total = recipe.warm_steps + recipe.steps
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 0.55 + 0.45 * math.cos(math.pi * s / total))

    said = [wordings(t) for t in tasks]
    flat = backbone.encode_sentence([w for own in said for w in own])
    stops = np.cumsum([0, *(len(own) for own in said)])
    embeddings = flat[torch.from_numpy(stops[:-1])]
    coordinates = [basis.encode(t.snapshots) for t in trained]
    assembly = Assembly(shared, recipe.share, recipe.rank) if shared is not None and recipe.rank else None
    experts_alone = [Lora.from_vector(layout, mean) for mean in means] if assembly else []
    mixtures = Conditions(basis, means, torch.stack([t.std for t in trained]).square())

    def routed(i: int) -> tuple[Tensor, Tensor]:
        """Some of the (other) experts, as task i is routed to them: [k] chosen, [k] weights."""
        others = np.array([j for j in range(len(tasks)) if j != i or not leave_one_out])
        kept = others[rng.random(len(others)) > recipe.dropout]
        others = kept if len(kept) else others
        sentence = flat[rng.integers(stops[i], stops[i + 1])]
        k = int(rng.choice([1, 2, 3, 4, 4, 4, 6, 8]))
        tau = float(np.exp(rng.uniform(np.log(0.03), np.log(0.3))))
        routing = SparseRouter(embeddings[torch.from_numpy(others)]).route("", sentence, k, tau)
        return torch.from_numpy(others)[routing.chosen], routing.weights

    def written(chosen: Tensor, weights: Tensor) -> Lora:
        """A LoRA from routed experts, to be trained through."""
        c = mixtures.of(chosen, weights)
        z = cvae.condition_prior(c[None]).sample(torch.randn(1, recipe.latent))
        theta = basis.decode(cvae.decode(z, c[None])[0])
        if assembly is None:
            return Lora.from_vector(layout, theta)
        merged = merge([experts_alone[j] for j in chosen.tolist()], weights.tolist())
        return assembly.whole(layout, theta, basis.decode(c[: basis.dimensions]), merged)

    share = np.array([len(t.train) ** 0.5 for t in tasks])
    started, sums = time.monotonic(), np.zeros(3)
    for step in range(total):
        picked = rng.integers(0, len(tasks), recipe.batch)
        conditions = torch.stack([mixtures.of(*routed(i)) for i in picked])
        theta = torch.stack([coordinates[i][rng.integers(len(coordinates[i]))] for i in picked])
        error, kl = cvae.elbo_loss(theta, conditions, torch.randn(len(picked), recipe.latent), recipe.kl)
        loss, useful = error + kl, torch.zeros(())
        if step >= recipe.warm_steps:
            loss = recipe.elbo * loss
            i = int(rng.choice(len(tasks), p=share / share.sum()))
            useful = task_loss(backbone.adapted, pool, tasks[i], experts, rng, lora=written(*routed(i)))
            loss = loss + recipe.function * useful
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(cvae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        sums += [float(error.detach()), float(kl.detach()), float(useful.detach())]
        if (step + 1) % 100 == 0:
            shown = " ".join(f"{n} {v / 100:.3f}" for n, v in zip(("error", "kl", "retrieval"), sums, strict=True))
            log(f"generator: step {step + 1}/{total} {shown}; {time.monotonic() - started:.0f} s so far")
            sums[:] = 0
    cvae.eval().requires_grad_(False)
    notes = {"recipe": asdict(recipe), "experts": len(tasks)}
    last = cvae.decoder[-1]
    last.weight.mul_(recipe.kept)
    last.bias.mul_(recipe.kept)
    return LoraGenerator(basis, cvae, backbone.fingerprint, notes, assembly)


def train_generator(
    data: Path,
    out: Path,
    cache: Path,
    backbone: Backbone,
    repository: ExpertRepository,
    recipe: GeneratorRecipe = GeneratorRecipe(),
    log: Log = print,
) -> LoraGenerator:
    """Train on the shipped experts' snapshots, which ``train experts`` left in the cache, and write the generator.

    Raises:
        RepositoryError: the snapshots of these experts are not in the cache.
    """
    experts = ExpertRecipe(**repository.notes["recipe"])
    pool = load_pool(data, backbone, cache, log)
    runs = runs_folder(cache, backbone, experts)
    by_name = {t.name: t for t in pool.tasks}
    tasks, trained = [], []
    for expert in repository.experts:
        file = runs / f"{expert.name}.safetensors"
        if expert.name not in by_name or not file.is_file():
            raise RepositoryError(f"The snapshots of expert {expert.name} are not in {runs}: run `train experts` first.")
        tasks.append(by_name[expert.name])
        trained.append(TrainedExpert.of(load_file(file)["snapshots"].float()))
    shared = None
    if recipe.rank and len(tasks) > 1:
        whole = replace(experts, shared_steps=recipe.shared_steps)
        file = runs / f"all-{len(tasks)}-{recipe.shared_steps}.safetensors"
        if not file.is_file():
            keep(file, {"shared": train_shared(backbone, pool, tasks, whole, log)})
        shared = load_file(file)["shared"]
    generator = fit_generator(backbone, pool, tasks, trained, experts, recipe, log, shared=shared)
    generator.save(out)
    log(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")
    pool.tell_unreadable(log)
    return generator
