"""The generator: from a semantic prior to the vector of an expert LoRA.

Paper: https://arxiv.org/abs/2509.10535, section on generation. It draws z ~ p(z | c) and decodes it. The decoder's output is
added to the prior's mean, in the coordinates of ``core.sglora.subspace``. An untrained generator merges.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.common.digest import tensors_digest
from core.common.errors import RepositoryError
from core.common.messages import message
from core.common.tensor_files import damage_raises, read_tensors, write_tensors
from core.sglora.prior import SemanticPrior
from core.sglora.subspace import Basis
from core.sglora.vae import ConditionalVAE, Gaussian, VaeConfig

FORMAT = "2"


class Sample(NamedTuple):
    """A draw: z [latent], and the vector [P] of an expert LoRA that the decoder makes of it."""

    z: Tensor
    vector: Tensor


@dataclass(frozen=True)
class LoraGenerator:
    """A basis of expert LoRAs and a trained VAE. ``fingerprint`` is the backbone's; ``notes`` describe the training."""

    basis: Basis
    vae: ConditionalVAE
    fingerprint: str
    notes: Mapping[str, Any]

    @property
    def parameters(self) -> int:
        """Length P of the vectors that it makes."""
        return len(self.basis.origin)

    @torch.no_grad()
    def latent(self, prior: SemanticPrior) -> Gaussian:
        """p(z | c): [latent] for a prior of vectors [P], [n, latent] for one of rows [n, P]."""
        return self.vae.condition_prior(self.basis.condition(prior))

    @torch.no_grad()
    def sample(self, prior: SemanticPrior, seed: int | None) -> Sample:
        """Draw z ~ p(z | c) with a seed (None: take its mean), and decode it."""
        condition = self.basis.condition(prior)  # computed once, since it takes most of the time with ViT-B/16
        latent = self.vae.condition_prior(condition)
        if seed is None:
            z = latent.mean
        else:
            z = latent.sample(torch.randn(latent.mean.shape, generator=torch.Generator().manual_seed(seed)))
        return Sample(z, prior.mean + self.basis.step(self.vae.decode_step(z, condition)))

    def save(self, path: Path) -> None:
        """Write everything as float16 safetensors."""
        config = asdict(self.vae.config)
        # A tensor, so that the checksum covers it: with another slope, the weights would give other LoRAs.
        slope = torch.tensor([config.pop("slope")])
        tensors = {f"vae.{k}": v for k, v in self.vae.state_dict().items()} | self.basis.tensors() | {"slope": slope}
        tensors = {k: v.detach().half().contiguous() for k, v in tensors.items()}
        metadata = {
            "format": FORMAT,
            "backbone_fingerprint": self.fingerprint,
            "config": json.dumps(config),
            "notes": json.dumps(dict(self.notes)),
            "tensors_sha256": tensors_digest(tensors),
        }
        write_tensors(path, tensors, metadata)

    @staticmethod
    def load(path: Path, fingerprint: str) -> LoraGenerator:
        """Read a generator for the backbone with this fingerprint. Raises RepositoryError: when the file is missing, damaged,
        in another format, or for another backbone."""
        if not path.is_file():
            raise RepositoryError("CORE_GENERATOR_MISSING", path=path)
        with damage_raises(RepositoryError, message("CORE_GENERATOR_DAMAGED", file=path.name)):
            stored, metadata = read_tensors(path)
            if (metadata["format"], metadata["tensors_sha256"]) != (FORMAT, tensors_digest(stored)):
                raise ValueError("another format or checksum")
            generator = _build(metadata, {key: value.float() for key, value in stored.items()})
        if generator.fingerprint != fingerprint:
            raise RepositoryError("CORE_GENERATOR_OTHER", file=path.name, theirs=generator.fingerprint, ours=fingerprint)
        return generator


def _build(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> LoraGenerator:
    config = VaeConfig(**json.loads(metadata["config"]), slope=float(tensors["slope"]) if "slope" in tensors else 0.0)
    with torch.device("meta"):  # takes no memory, whatever sizes the file claims; the file's tensors replace it
        vae = ConditionalVAE(config)
    vae.load_state_dict({k.removeprefix("vae."): v for k, v in tensors.items() if k.startswith("vae.")}, assign=True)
    basis = Basis.of(tensors, config.coordinates)
    notes = json.loads(metadata["notes"])
    return LoraGenerator(basis, vae.eval().requires_grad_(False), metadata["backbone_fingerprint"], notes)
