"""Engines with random experts and a random generator, so that no test depends on the quality of the shipped ones."""

import torch
from tiny_models import frozen_layout, noise

from core.backbones.base import Backbone
from core.backbones.description import embed_descriptions
from core.sglora.engine import SGLora
from core.sglora.generator import LoraGenerator
from core.sglora.repository import Expert, ExpertRepository
from core.sglora.subspace import Basis
from core.sglora.vae import ConditionalVAE, VaeConfig

TASKS = ("a dog", "the sea", "a market", "a bicycle", "snow", "an airport from above")

DESCRIPTION = "photos of puppies in the snow"


def random_engine(backbone: Backbone, trained: bool = True, seed: int = 2) -> SGLora:
    """Six random experts and a generator with random weights. The experts use the backbone's shared part, if it has one.
    ``trained=False``: the generator's decoder is zero. ``seed``: of the experts' basis."""
    layout, n = frozen_layout(backbone.layout), len(TASKS)
    experts = tuple(Expert(t.split()[-1], f"a photo of {t}", "scenes", "none", 1, i, 1, {}, {}) for i, t in enumerate(TASKS))
    basis = Basis.fit(noise(n, layout.size, seed=seed) / layout.rank)
    means = basis.decode(noise(n, n, seed=4))
    embeddings = embed_descriptions(backbone, [e.description for e in experts])
    numbers = (basis, means, 0.02 * noise(n, n, seed=3).square(), embeddings)
    repository = ExpertRepository(backbone.fingerprint, layout, experts, *numbers, shared=backbone.shared)
    vae = ConditionalVAE(VaeConfig(n, latent=4, hidden=16))
    with torch.no_grad():
        for i, parameter in enumerate(vae.parameters() if trained else ()):
            parameter.copy_(0.3 * noise(*parameter.shape, seed=10 + i))
    generator = LoraGenerator(vae.eval().requires_grad_(False), backbone.fingerprint, repository.basis.digest, {})
    return SGLora(backbone, repository, generator)
