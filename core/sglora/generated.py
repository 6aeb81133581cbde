"""What generators have in common: what they write, and how their files are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.backbones.lora import Lora
from core.common.errors import RepositoryError
from core.common.tensor_files import write_tensors
from core.sglora.prior import SemanticPrior
from core.sglora.router import Routing
from core.sglora.subspace import Basis
from core.sglora.vae import Gaussian

if TYPE_CHECKING:
    from core.sglora.mixer import Mixture
    from core.sglora.repository import ExpertRepository

Build = Callable[[Mapping[str, str], Mapping[str, Tensor]], Any]


@dataclass(frozen=True)
class Generated:
    """A written LoRA.

    Attributes:
        lora: in full. z: [latent] the sample behind it.
        mixture: what it is put together from; None where the numbers themselves were decoded.
    """

    lora: Lora
    z: Tensor
    mixture: Mixture | None = None


class Generator(Protocol):
    """Writes LoRAs from semantic priors.

    Attributes:
        fingerprint: of the backbone whose LoRAs it writes. notes: how it was trained.
    """

    @property
    def fingerprint(self) -> str: ...

    @property
    def notes(self) -> Mapping[str, Any]: ...

    def latent(self, prior: SemanticPrior) -> Gaussian:
        """p(z | c), one row."""
        ...

    def write(
        self, repository: ExpertRepository, routing: Routing, prior: SemanticPrior, seed: int | None, own: float = 1.0
    ) -> Generated:
        """The LoRA of a routed description. The same seed gives the same one; None takes the mean of p(z | c).

        Args:
            own: how much of the experts' own parts goes into it, 0 (what all share alone) to 1.
        """
        ...

    def with_own(self, means: Tensor) -> Generator:
        """The generator for a repository that also has the own parts ``means`` [n, P], which it was not trained with."""
        ...

    def save(self, path: Path) -> None:
        """Write everything as safetensors."""
        ...


def write_generator(
    path: Path,
    kind: str,
    fingerprint: str,
    notes: Mapping[str, Any],
    config: Mapping[str, Any],
    basis: Basis,
    network: Mapping[str, Tensor],
) -> None:
    """Write a generator as float16 safetensors, as ``read_generator`` reads it.

    Args:
        path: the file. kind: of generator. fingerprint: of its backbone. notes: how it was trained.
        config: of the network. basis: of the LoRA vectors. network: its weights, under the names that they get in the file.
    """
    tensors = {**network, **{f"basis.{k}": getattr(basis, k) for k in ("origin", "components", "scale")}}
    tensors = {k: v.detach().half().contiguous() for k, v in tensors.items()}
    metadata = {
        "kind": kind,
        "backbone_fingerprint": fingerprint,
        "config": json.dumps(dict(config)),
        "notes": json.dumps(dict(notes)),
        "tensors_sha256": checksum(tensors),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, tensors, metadata)


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names and values, in order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def read_generator(path: Path, fingerprint: str, kinds: Mapping[str, Build]) -> Any:
    """What is built of a generator's file.

    Args:
        fingerprint: of the backbone that it must belong to.
        kinds: how each kind is built from metadata and float32 tensors; may raise any of the usual errors of bad content.

    Raises:
        RepositoryError: the file is missing, damaged, of an unknown kind, or of another backbone.
    """
    if not path.is_file():
        raise RepositoryError(f"The generator {path} is missing: `python -m core train generator` writes it.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
        if metadata.get("tensors_sha256", digest := checksum(stored)) != digest:
            raise ValueError("the checksum differs")
        made_for, kind = metadata["backbone_fingerprint"], metadata.get("kind", "cvae")
        json.loads(metadata["notes"])
        if kind not in kinds:
            raise ValueError("an unknown kind")
        if made_for == fingerprint:
            return kinds[kind](metadata, {key: value.float() for key, value in stored.items()})
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
    raise RepositoryError(f"The generator {path.name} belongs to backbone {made_for}, not to {fingerprint}.")


def draw_latent(latent: Gaussian, seed: int | None) -> Tensor:
    """A sample of p(z | c), [1, latent]; seed None: its mean."""
    if seed is None:
        return latent.mean
    return latent.sample(torch.randn(latent.mean.shape, generator=torch.Generator().manual_seed(seed)))
