"""Train the generator, a conditional VAE (paper, section on training), on the last snapshots of all experts.

At run time the repository rarely has an expert of the exact task. So an example is a snapshot of one expert, and its condition
is the prior of the *other* experts (of all, for a share of the examples), with random k, tau and set of experts. The generator
learns to go from neighbours to a new task. The weight lambda of the KL divergence decides how much information z carries
(``core.experiments.latent``).
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.common.errors import RepositoryError
from core.common.progress import Bar, Log
from core.experts.files import save_generator
from core.sglora.generator import LoraGenerator
from core.sglora.prior import semantic_prior
from core.sglora.repository import ExpertRepository
from core.sglora.router import SparseRouter
from core.sglora.vae import ConditionalVAE, VaeConfig, condition
from core.training.descent import descend
from core.training.snapshots import read_snapshots

BETWEEN, NEIGHBOURS = 2048, 11  # number of sentences between experts; each mixes an expert with some of its 11 closest


@dataclass(frozen=True)
class GeneratorRecipe:
    latent: int = 16
    hidden: int = 128
    steps: int = 2000
    batch: int = 64
    lr: float = 1e-3
    kl: float = 1.0  # lambda
    warm_up: float = 0.2  # share of the steps in which the KL weight rises to lambda
    conditions: int = 32  # per expert
    left_out: float = 0.5  # share of conditions without the expert itself
    dropout: float = 0.2  # share of the other experts that a condition leaves out
    between: float = 0.5  # share of a batch that is sentences between experts
    seed: int = 0


def fit_generator(repository: ExpertRepository, snapshots: Tensor, recipe: GeneratorRecipe, log: Log) -> LoraGenerator:
    """Train on the last snapshots [n, M, P] of a repository's experts. Raises RepositoryError: with fewer than two experts."""
    n, basis = len(repository), repository.basis
    if n < 2:
        raise RepositoryError("The generator learns from neighbours: at least two experts are needed.")
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    targets = torch.stack([basis.encode(rows.float()) for rows in snapshots])  # [n, M, D]
    conditions = torch.stack([_conditions(repository, i, recipe, rng) for i in range(n)])  # [n, C, 2 D]
    wide = between(repository, rng)
    vae = ConditionalVAE(VaeConfig(basis.dimensions, recipe.latent, recipe.hidden))
    optimizer = torch.optim.Adam(vae.parameters(), lr=recipe.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps, recipe.lr / 10)
    with Bar("generator", recipe.steps, log, "steps") as bar:
        for step in range(1, recipe.steps + 1):
            expert = torch.from_numpy(rng.integers(0, n, recipe.batch))
            theta = targets[expert, torch.from_numpy(rng.integers(0, targets.shape[1], recipe.batch))]
            c = conditions[expert, torch.from_numpy(rng.integers(0, recipe.conditions, recipe.batch))]
            mixed = torch.from_numpy(rng.random(recipe.batch) < recipe.between)[:, None]
            c = torch.where(mixed, wide[torch.from_numpy(rng.integers(0, BETWEEN, recipe.batch))], c)
            theta = torch.where(mixed, c[:, : basis.dimensions], theta)
            elbo = vae.elbo(theta, c, torch.randn(recipe.batch, recipe.latent))
            weight = recipe.kl * min(1.0, step / max(1.0, recipe.warm_up * recipe.steps))
            descend(elbo.error + weight * elbo.kl, optimizer, schedule, [*vae.parameters()])
            bar.to(step, f"error {elbo.error.detach():.3f}, KL {elbo.kl.detach():.2f} nats")
    notes = {"recipe": asdict(recipe), "experts": n, "KL in nats": round(float(elbo.kl.detach()), 3)}
    return LoraGenerator(vae.eval().requires_grad_(False), repository.fingerprint, basis.digest, notes)


def _conditions(repository: ExpertRepository, expert: int, recipe: GeneratorRecipe, rng: np.random.Generator) -> Tensor:
    """Conditions [C, 2 D] of an expert's description, each routed among another random set of experts."""
    n = len(repository)
    others = np.delete(np.arange(n), expert)
    conditions = []
    for _ in range(recipe.conditions):
        kept = others[rng.random(n - 1) > recipe.dropout]
        kept = kept if len(kept) else others
        rows = torch.from_numpy(kept if rng.random() < recipe.left_out else np.append(kept, expert))
        conditions.append(_routed(repository, rows, repository.embeddings[expert], rng))
    return torch.stack(conditions)


def between(repository: ExpertRepository, rng: np.random.Generator) -> Tensor:
    """Conditions [BETWEEN, 2 D] of sentences between an expert and some of its neighbours, such as "photos of sports". Their
    target is mu*: a wide sentence asks for the merge."""
    keys, everyone, conditions = repository.embeddings, torch.arange(len(repository)), []
    for _ in range(BETWEEN):
        expert = int(rng.integers(len(keys)))
        near = (keys @ keys[expert]).topk(min(NEIGHBOURS + 1, len(keys))).indices[1:].numpy()
        some = np.append(expert, rng.choice(near, min(len(near), int(rng.integers(2, 5))), replace=False))
        sentence = F.normalize(keys[torch.from_numpy(some)].mean(0), dim=-1)
        conditions.append(_routed(repository, everyone, sentence, rng))
    return torch.stack(conditions)


def _routed(repository: ExpertRepository, rows: Tensor, sentence: Tensor, rng: np.random.Generator) -> Tensor:
    """The condition [2 D] of a sentence embedding [s] routed among the experts at ``rows``, with random k and tau."""
    k, tau = int(rng.choice([1, 2, 3, 4, 4, 4, 6, 8])), float(np.exp(rng.uniform(np.log(0.03), np.log(0.3))))
    routing = SparseRouter(repository.embeddings[rows]).route("", sentence, k, tau)
    chosen = rows[routing.chosen]
    return condition(semantic_prior(repository.coordinates[chosen], repository.variances[chosen], routing.weights))


def train_generator(out: Path, repository: ExpertRepository, runs: Path, recipe: GeneratorRecipe, log: Log) -> LoraGenerator:
    """Train on a repository's experts, with the snapshots that ``train experts`` kept in ``runs``, and write the generator to
    ``out``. Raises as ``fit_generator`` and ``read_snapshots``."""
    snapshots = read_snapshots(runs, [expert.name for expert in repository.experts])
    generator = fit_generator(repository, snapshots, recipe, log)
    save_generator(generator, out)
    log(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")
    return generator
