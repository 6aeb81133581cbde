"""The generator: basis and conditional VAE together, from a semantic prior to a LoRA vector."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.backbones.lora import MAX_RANK, Lora, LoraLayout
from core.common.errors import RepositoryError
from core.sglora.assembly import Assembly
from core.sglora.cvae import ConditionalVAE, CvaeConfig, Gaussian
from core.sglora.prior import SemanticPrior
from core.sglora.subspace import Basis


@dataclass(frozen=True)
class LoraGenerator:
    """Writes LoRA vectors.

    Attributes:
        basis: of the LoRA vectors.
        cvae: trained, in evaluation mode.
        fingerprint: of the backbone whose LoRAs it writes.
        notes: how it was trained.
        assembly: how a LoRA is put together from what is decoded; None applies the decoded factors as they are (the paper).
    """

    basis: Basis
    cvae: ConditionalVAE
    fingerprint: str
    notes: Mapping[str, Any]
    assembly: Assembly | None = None

    @torch.no_grad()
    def latent(self, prior: SemanticPrior) -> Gaussian:
        """p(z | c), one row."""
        return self.cvae.condition_prior(self._condition(prior))

    @torch.no_grad()
    def sample(self, prior: SemanticPrior, seed: int) -> tuple[Tensor, Tensor]:
        """Draw z ~ p(z | c) and decode it: (vector [P], z [latent]). The same seed gives the same LoRA."""
        condition = self._condition(prior)
        latent = self.cvae.condition_prior(condition)
        generator = torch.Generator().manual_seed(seed)
        z = latent.sample(torch.randn(latent.mean.shape, generator=generator))
        return self._decode(z, condition, prior), z[0]

    @torch.no_grad()
    def mean(self, prior: SemanticPrior) -> Tensor:
        """The LoRA of the latent prior's mean, [P]: no chance involved."""
        condition = self._condition(prior)
        return self._decode(self.cvae.condition_prior(condition).mean, condition, prior)

    def centre(self, prior: SemanticPrior) -> Tensor:
        """[P] what is decoded where the decoder adds nothing: the prior's mean, as far as the basis holds it."""
        return self._placed(self.basis.encode(prior.mean), prior)

    def lora(self, vector: Tensor, prior: SemanticPrior, merged: Lora, layout: LoraLayout) -> Lora:
        """The LoRA that a decoded vector stands for.

        Args:
            vector: [P] of ``sample`` or ``mean`` for this prior. merged: the routed experts, merged exactly.
            layout: of the vector.
        """
        if self.assembly is None:
            return Lora.from_vector(layout, vector)
        return self.assembly.lora(layout, vector, self.centre(prior), merged)

    def _condition(self, prior: SemanticPrior) -> Tensor:
        """[1, 2 D]; for ViT-B/16 the largest part of the work, so it is done once."""
        return self.basis.condition(prior)[None]

    def _decode(self, z: Tensor, condition: Tensor, prior: SemanticPrior) -> Tensor:
        return self._placed(self.cvae.decode(z, condition)[0], prior)

    def _placed(self, coordinates: Tensor, prior: SemanticPrior) -> Tensor:
        """The vector [P] at these coordinates [D]."""
        return self.basis.decode(coordinates)

    def save(self, path: Path) -> None:
        """Write everything as float16 safetensors."""
        tensors = {f"cvae.{k}": v for k, v in self.cvae.state_dict().items()}
        tensors |= {f"basis.{k}": getattr(self.basis, k) for k in ("origin", "components", "scale")}
        if self.assembly is not None:
            tensors["assembly.shared"] = self.assembly.shared
        tensors = {k: v.detach().half().contiguous() for k, v in tensors.items()}
        metadata = {
            "backbone_fingerprint": self.fingerprint,
            "config": json.dumps(asdict(self.cvae.config)),
            "notes": json.dumps(dict(self.notes)),
            "tensors_sha256": _checksum(tensors),
        }
        if self.assembly is not None:
            metadata["assembly"] = json.dumps({"share": self.assembly.share, "rank": self.assembly.rank})
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata=metadata)

    @staticmethod
    def load(path: Path, fingerprint: str) -> LoraGenerator:
        """Read a generator for the backbone with this fingerprint.

        Raises:
            RepositoryError: the file is missing, damaged, or of another backbone.
        """
        if not path.is_file():
            raise RepositoryError(f"The generator {path} is missing: `python -m core train generator` writes it.")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            if metadata.get("tensors_sha256", checksum := _checksum(stored)) != checksum:
                raise ValueError("the checksum differs")
            tensors = {key: value.float() for key, value in stored.items()}
            with torch.device("meta"):  # takes no memory, whatever sizes the file claims; the tensors then take its place
                cvae = ConditionalVAE(CvaeConfig(**json.loads(metadata["config"])))
            weights = {k.removeprefix("cvae."): v for k, v in tensors.items() if k.startswith("cvae.")}
            cvae.load_state_dict(weights, assign=True)
            basis = Basis(*(tensors[f"basis.{k}"] for k in ("origin", "components", "scale")))
            if (
                basis.components.shape != (cvae.config.coordinates, len(basis.origin))
                or basis.dimensions != cvae.config.coordinates
            ):
                raise ValueError("basis and CVAE differ in size")
            assembly = _assembly(metadata, tensors, len(basis.origin))
            made_for, notes = metadata["backbone_fingerprint"], json.loads(metadata["notes"])
        except (
            SafetensorError,
            OSError,
            LookupError,
            TypeError,
            AttributeError,
            ValueError,
            ArithmeticError,
            RuntimeError,
        ) as error:
            raise RepositoryError(f"The generator {path.name} is damaged ({type(error).__name__}): restore it.") from None
        if made_for != fingerprint:
            raise RepositoryError(f"The generator {path.name} belongs to backbone {made_for}, not to {fingerprint}.")
        return LoraGenerator(basis, cvae.eval().requires_grad_(False), made_for, notes, assembly)


def _assembly(metadata: Mapping[str, str], tensors: Mapping[str, Tensor], size: int) -> Assembly | None:
    """As saved.

    Raises:
        ValueError, TypeError, KeyError: it is invalid.
    """
    if "assembly" not in metadata:
        return None
    fields, shared = json.loads(metadata["assembly"]), tensors["assembly.shared"]
    share, rank = float(fields["share"]), int(fields["rank"])
    if shared.shape != (size,) or not 0 <= share <= 1 or not 1 <= rank <= MAX_RANK:
        raise ValueError("an invalid assembly")
    return Assembly(shared, share, rank)


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names and values, in order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
