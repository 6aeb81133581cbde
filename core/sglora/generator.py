"""The paper's generator: basis and conditional VAE together, from a semantic prior to the numbers of a LoRA.

``core.sglora.mixer`` writes how experts are mixed instead; for the embedded backbone that measures better.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.backbones.lora import Lora
from core.common.errors import RepositoryError
from core.sglora.generated import Generated, Generator, draw_latent, read_generator, write_generator
from core.sglora.mixer import KIND as MIXER
from core.sglora.mixer import build_mixer
from core.sglora.prior import SemanticPrior
from core.sglora.repository import ExpertRepository
from core.sglora.router import Routing
from core.sglora.subspace import Basis
from core.sglora.vae import ConditionalVAE, CvaeConfig, Gaussian

KIND = "cvae"
_NO_DIRECTION = 1e-4  # relative length below which a part outside the basis is rounding


@dataclass(frozen=True)
class LoraGenerator:
    """Implements ``core.sglora.generated.Generator``: decodes the whole vector theta, as the paper does.

    Attributes:
        basis: of the LoRA vectors.
        cvae: trained, in evaluation mode.
        fingerprint: of the backbone whose LoRAs it writes.
        notes: how it was trained.
    """

    basis: Basis
    cvae: ConditionalVAE
    fingerprint: str
    notes: Mapping[str, Any]

    @torch.no_grad()
    def latent(self, prior: SemanticPrior) -> Gaussian:
        """p(z | c), one row."""
        return self.cvae.condition_prior(self._condition(prior))

    @torch.no_grad()
    def sample(self, prior: SemanticPrior, seed: int | None) -> tuple[Tensor, Tensor]:
        """Draw z ~ p(z | c) and decode it: (vector [P], z [latent]). The same seed gives the same LoRA; None: the mean's."""
        condition = self._condition(prior)
        z = draw_latent(self.cvae.condition_prior(condition), seed)
        return self._placed(self.cvae.decode(z, condition)[0], prior), z[0]

    def write(
        self, repository: ExpertRepository, routing: Routing, prior: SemanticPrior, seed: int | None, own: float = 1.0
    ) -> Generated:
        """The decoded LoRA, on top of what all experts share."""
        vector, z = self.sample(prior, seed)
        return Generated(repository.with_shared([Lora.from_vector(repository.layout, vector)], [own]), z)

    def with_own(self, means: Tensor) -> LoraGenerator:
        """See ``core.sglora.generated.Generator``."""
        outside = means - self.basis.origin
        for _ in range(2):  # twice, because float32 leaves a rest the first time
            outside = outside - (outside @ self.basis.components.T) @ self.basis.components
        _, spread, directions = torch.linalg.svd(outside, full_matrices=False)
        directions = directions[spread > _NO_DIRECTION * max(float(spread[0]), float(self.basis.scale[0]))]
        return OwnGenerator(self.basis, self.cvae, self.fingerprint, self.notes, directions=directions)

    def _condition(self, prior: SemanticPrior) -> Tensor:
        """[1, 2 D]; for ViT-B/16 the largest part of the work, so it is done once."""
        return self.basis.condition(prior)[None]

    def _placed(self, coordinates: Tensor, prior: SemanticPrior) -> Tensor:
        """The vector [P] at these coordinates [D]."""
        return self.basis.decode(coordinates)

    def save(self, path: Path) -> None:
        """Write everything as float16 safetensors."""
        tensors = {f"cvae.{k}": v for k, v in self.cvae.state_dict().items()}
        write_generator(path, KIND, self.fingerprint, self.notes, asdict(self.cvae.config), self.basis, tensors)

    @staticmethod
    def load(path: Path, fingerprint: str) -> LoraGenerator:
        """Read a generator for the backbone with this fingerprint.

        Raises:
            RepositoryError: the file is missing, damaged, of another kind, or of another backbone.
        """
        found = load_generator(path, fingerprint)
        if not isinstance(found, LoraGenerator):
            raise RepositoryError(f"The generator {path.name} is a mixer, not a conditional VAE.")
        return found


@dataclass(frozen=True)
class OwnGenerator(LoraGenerator):
    """The generator, and beside its basis the prior's mean as it is: the decoder adds to the prior's mean, and where the
    basis has no direction, it has nothing to add.

    Attributes:
        directions: [m, P] orthonormal rows, orthogonal to the basis: what only own experts have.
    """

    directions: Tensor = field(kw_only=True)

    def _placed(self, coordinates: Tensor, prior: SemanticPrior) -> Tensor:
        offset = prior.mean - self.basis.origin
        return super()._placed(coordinates, prior) + (self.directions @ offset) @ self.directions


def load_generator(path: Path, fingerprint: str) -> Generator:
    """Read a generator of either kind for the backbone with this fingerprint.

    Raises:
        RepositoryError: the file is missing, damaged, or of another backbone.
    """
    return read_generator(path, fingerprint, {MIXER: build_mixer, KIND: _build})


def _build(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> LoraGenerator:
    config = CvaeConfig(**json.loads(metadata["config"]))
    with torch.device("meta"):  # takes no memory, whatever sizes the file claims; the tensors then take its place
        cvae = ConditionalVAE(config)
    weights = {k.removeprefix("cvae."): v for k, v in tensors.items() if k.startswith("cvae.")}
    cvae.load_state_dict(weights, assign=True)
    basis = Basis.of(tensors, config.coordinates)
    notes = json.loads(metadata["notes"])
    return LoraGenerator(basis, cvae.eval().requires_grad_(False), metadata["backbone_fingerprint"], notes)
