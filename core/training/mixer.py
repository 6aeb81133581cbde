"""Train the mixer: which shares of the shared part and of the routed experts' own parts a description calls for.

Every step samples a task (``core.training.dense_tasks``) from photos that trained no expert, says in one of many ways what it
is about, routes the sentence, and backs up the retrieval loss (with the penalty for forgetting) through the mixture. At run
time the target's own expert is rarely in the repository; so for half of the tasks the closest experts, or all of the domain,
are left out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from core.backbones import EMBEDDED
from core.backbones.base import Backbone
from core.common.errors import DataError, RepositoryError
from core.common.progress import Bar, Log
from core.sglora.description import embed_descriptions
from core.sglora.mixer import LoraMixer, MixerConfig, MixingNetwork, mixed
from core.sglora.prior import semantic_prior
from core.sglora.repository import ExpertRepository
from core.sglora.router import DEFAULT_K, DEFAULT_TAU, Routing, SparseRouter
from core.sglora.subspace import Basis
from core.training.corpus import Corpus, load_corpus
from core.training.dense_tasks import DenseTask, DenseTasks
from core.training.experts import ExpertRecipe

KEYWORD = 8  # photos that a keyword needs
BLOCK = 100  # tasks whose sentences are embedded together
REPORT = 50
BATCH = 128  # photos of a task


@dataclass(frozen=True)
class MixerRecipe:
    """How the mixer is trained. ``tasks`` a step; ``memory`` is the penalty for forgetting, in its usual weights;
    ``scale_lr`` is for the line in closeness, ``lr`` for the network; ``kl`` weighs the divergence of p(z | c) from a standard
    normal; ``left_out`` is the share of tasks whose closest experts (1 to ``most_left_out``) are left out."""

    steps: int = 600
    tasks: int = 2
    memory: float = 0.0
    lr: float = 2e-3
    scale_lr: float = 1e-2
    kl: float = 0.01
    dimensions: int = 24
    latent: int = 8
    hidden: int = 64
    left_out: float = 0.5
    most_left_out: int = 24
    seed: int = 0


# With adapters of photos, how much is mixed decides what is forgotten (docs/design.md, section 2).
CLIP_RECIPE = MixerRecipe(steps=300, memory=1.0)


def recipe_for(backbone: Backbone) -> MixerRecipe:
    """The recipe that fits a backbone."""
    return MixerRecipe() if backbone.slug == EMBEDDED else CLIP_RECIPE


def fit_mixer(
    backbone: Backbone,
    corpus: Corpus,
    repository: ExpertRepository,
    allowed: np.ndarray,
    recipe: MixerRecipe = MixerRecipe(),
    log: Log = print,
) -> LoraMixer:
    """Train on the photos at ``allowed`` rows [n] bool, which should have trained no expert.

    Where too few of them make a task, those that train experts are used as well.

    Raises:
        RepositoryError: fewer than two experts. DataError: no task among these photos.
    """
    if len(repository) < 2:
        raise RepositoryError("The generator learns from neighbours: at least two experts are needed.")
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    experts = ExpertRecipe(**repository.notes["recipe"]) if "recipe" in repository.notes else ExpertRecipe()
    try:
        sampler = DenseTasks(corpus, allowed, KEYWORD)
    except DataError:  # a small folder: too few photos train nothing
        log("mixer: too few photos that train no expert to find tasks in; those that do are used as well")
        allowed = allowed | corpus.train
        sampler = DenseTasks(corpus, allowed, KEYWORD, most=1.0)
    objective = replace(experts.objective(backbone, corpus, allowed), batch=BATCH, memory=recipe.memory)
    basis = Basis.fit(repository.means, repository.origin, recipe.dimensions)
    network = MixingNetwork(MixerConfig(basis.dimensions, len(repository.layout.modules), recipe.latent, recipe.hidden))
    scales = [network.start, network.slope]
    rest = [*network.prior.parameters(), *network.decoder.parameters()]
    optimizer = torch.optim.Adam([{"params": scales, "lr": recipe.scale_lr}, {"params": rest, "lr": recipe.lr}])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    own = [repository.own(i) for i in range(len(repository))]
    waiting: list[tuple[DenseTask, torch.Tensor]] = []
    bar, note, total = Bar("mixer", recipe.steps, log, "steps"), "", 0.0
    for step in range(1, recipe.steps + 1):
        optimizer.zero_grad()
        for _ in range(recipe.tasks):
            if not waiting:
                tasks = [sampler.sample(rng) for _ in range(BLOCK)]
                sentences = embed_descriptions(backbone, [t.sentence(corpus, rng) for t in tasks])
                waiting = list(zip(tasks, sentences, strict=True))
            task, sentence = waiting.pop()
            routing = _routed(repository, task, sentence, recipe, rng)
            chosen = routing.chosen
            prior = semantic_prior(repository.means[chosen], repository.stds[chosen].square(), routing.weights)
            latent = network.condition_prior(basis.condition(prior)[None])
            z = latent.sample(torch.randn(latent.mean.shape))[0]
            mixture = network.decode(z, routing.weights, routing.closeness)
            lora = mixed(repository.shared, [own[i] for i in chosen.tolist()], mixture)
            loss = objective.loss(task.rows, lora, rng)
            standard = type(latent)(torch.zeros_like(latent.mean), torch.zeros_like(latent.mean))
            loss = (loss + recipe.kl * latent.kl(standard).mean()) / recipe.tasks
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % REPORT == 0:
            m = network.config.modules
            scale = network.start.detach().exp()
            shares = f"scales {scale[:m].mean():.2f} shared, {scale[m : 2 * m].mean():.2f} own"
            note, total = f"loss {total / REPORT:.3f}, {shares}", 0.0
        bar.to(step, note)
    bar.close()
    notes = {"recipe": asdict(recipe), "experts": len(repository)}
    return LoraMixer(basis, network.eval().requires_grad_(False), backbone.fingerprint, notes)


def _routed(
    repository: ExpertRepository, task: DenseTask, sentence: torch.Tensor, recipe: MixerRecipe, rng: np.random.Generator
) -> Routing:
    """The sentence routed to all experts, or to those that are left when the closest, or the task's domain, are out."""
    similarity = repository.embeddings @ sentence
    kept = torch.ones(len(repository), dtype=torch.bool)
    if rng.random() < recipe.left_out:
        if task.domain is not None and rng.random() < 0.5:
            kept = torch.tensor([e.group != task.domain for e in repository.experts])
        else:
            out = int(rng.integers(1, max(2, min(recipe.most_left_out, len(repository) // 3) + 1)))
            kept[similarity.topk(out).indices] = False
    rows = kept.nonzero()[:, 0] if kept.any() else torch.arange(len(repository))
    routing = SparseRouter(repository.embeddings[rows]).route("", sentence, DEFAULT_K, DEFAULT_TAU)
    return replace(routing, chosen=rows[routing.chosen], similarity=similarity)


def train_mixer(
    data: Path,
    out: Path,
    cache: Path,
    backbone: Backbone,
    repository: ExpertRepository,
    recipe: MixerRecipe = MixerRecipe(),
    log: Log = print,
) -> LoraMixer:
    """Train on the watched photos of ``data`` and write the mixer to ``out``.

    Raises:
        RepositoryError, DataError: as ``fit_mixer``.
    """
    corpus = load_corpus(data, backbone, cache, log)
    mixer = fit_mixer(backbone, corpus, repository, corpus.watched, recipe, log)
    mixer.save(out)
    log(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")
    corpus.tell_unreadable(log)
    return mixer
