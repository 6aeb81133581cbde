"""Train the paper's generator, a conditional VAE that decodes whole LoRAs (paper, section on training; leave-one-out as in
docs/design.md, section 5).

At run time the target's own expert is never in the repository. So every training example conditions a sample of an expert's
last steps on the prior of the *other* experts, with k, tau and the set of experts drawn at random: the generator learns to go
from neighbours to a new task.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.backbones.base import Backbone
from core.common.errors import RepositoryError
from core.common.progress import Bar, Log
from core.sglora.generator import LoraGenerator
from core.sglora.prior import semantic_prior
from core.sglora.repository import ExpertRepository
from core.sglora.router import SparseRouter
from core.sglora.subspace import Basis
from core.sglora.vae import ConditionalVAE, CvaeConfig


@dataclass(frozen=True)
class GeneratorRecipe:
    """How the conditional VAE is trained. ``kl`` is lambda; ``dropout`` the share of experts that a step does not see."""

    dimensions: int = 80
    latent: int = 16
    hidden: int = 128
    steps: int = 200
    batch: int = 32
    lr: float = 1e-3
    kl: float = 0.01
    dropout: float = 0.2
    seed: int = 0


def fit_generator(
    backbone: Backbone, repository: ExpertRepository, recipe: GeneratorRecipe = GeneratorRecipe(), log: Log = print
) -> LoraGenerator:
    """Train on the experts of a repository: it takes no photos.

    Coordinates are about where own parts begin, so that the generator may also scale what all of them have.

    Raises:
        RepositoryError: fewer than two experts.
    """
    n = len(repository)
    if n < 2:
        raise RepositoryError("The generator learns from neighbours: at least two experts are needed.")
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    basis = Basis.fit(repository.means, repository.origin, recipe.dimensions)
    cvae = ConditionalVAE(CvaeConfig(basis.dimensions, recipe.latent, recipe.hidden))
    optimizer = torch.optim.Adam(cvae.parameters(), lr=recipe.lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 0.55 + 0.45 * math.cos(math.pi * s / recipe.steps))
    variances = repository.stds.square()

    def condition(i: int) -> Tensor:
        """[2 D] of some other experts, as expert i's description is routed to them."""
        others = np.delete(np.arange(n), i)
        kept = others[rng.random(n - 1) > recipe.dropout]
        rows = torch.from_numpy(kept if len(kept) else others)
        k, tau = int(rng.choice([1, 2, 3, 4, 4, 4, 6, 8])), float(np.exp(rng.uniform(np.log(0.03), np.log(0.3))))
        routing = SparseRouter(repository.embeddings[rows]).route("", repository.embeddings[i], k, tau)
        chosen = rows[routing.chosen]
        return basis.condition(semantic_prior(repository.means[chosen], variances[chosen], routing.weights))

    bar, note, sums = Bar("generator", recipe.steps, log, "steps"), "", np.zeros(2)
    for step in range(1, recipe.steps + 1):
        picked = rng.integers(0, n, recipe.batch)
        conditions = torch.stack([condition(int(i)) for i in picked])
        rows = torch.from_numpy(picked)
        snapshots = repository.means[rows] + repository.stds[rows] * torch.randn(len(rows), repository.layout.size)
        error, kl = cvae.elbo_loss(basis.encode(snapshots), conditions, torch.randn(len(rows), recipe.latent), recipe.kl)
        optimizer.zero_grad()
        (error + kl).backward()
        torch.nn.utils.clip_grad_norm_(cvae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        sums += [float(error.detach()), float(kl.detach())]
        if step % 100 == 0:
            note = f"error {sums[0] / 100:.3f}, kl {sums[1] / 100:.3f}"
            sums[:] = 0
        bar.to(step, note)
    bar.close()
    notes = {"recipe": asdict(recipe), "experts": n}
    return LoraGenerator(basis, cvae.eval().requires_grad_(False), backbone.fingerprint, notes)


def train_generator(
    out: Path, backbone: Backbone, repository: ExpertRepository, recipe: GeneratorRecipe = GeneratorRecipe(), log: Log = print
) -> LoraGenerator:
    """Train on the experts of a repository and write the generator to ``out``.

    Raises:
        RepositoryError: as ``fit_generator``.
    """
    generator = fit_generator(backbone, repository, recipe, log)
    generator.save(out)
    log(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")
    return generator
