"""The generator on disk: one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from core.common.digest import tensors_digest
from core.common.errors import RepositoryError
from core.common.messages import message
from core.common.tensor_files import damage_raises, read_tensors, write_tensors
from core.sglora.generator import LoraGenerator
from core.sglora.vae import ConditionalVAE, VaeConfig

FORMAT = "3"


def save_generator(generator: LoraGenerator, path: Path) -> None:
    """Write the generator in float16."""
    tensors = {k: v.detach().half().contiguous() for k, v in generator.vae.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "backbone_fingerprint": generator.fingerprint,
        "basis_sha256": generator.basis,
        "config": json.dumps(asdict(generator.vae.config)),
        "notes": json.dumps(dict(generator.notes)),
        "tensors_sha256": tensors_digest(tensors),
    }
    write_tensors(path, tensors, metadata)


def load_generator(path: Path, fingerprint: str) -> LoraGenerator:
    """Read a generator for the backbone with this fingerprint. Raises RepositoryError: when the file is missing, damaged, in
    another format, or for another backbone."""
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
    with torch.device("meta"):  # takes no memory, whatever sizes the file claims; the file's tensors replace it
        vae = ConditionalVAE(VaeConfig(**json.loads(metadata["config"])))
    vae.load_state_dict(tensors, assign=True)
    notes, digests = json.loads(metadata["notes"]), (metadata["backbone_fingerprint"], metadata["basis_sha256"])
    return LoraGenerator(vae.eval().requires_grad_(False), *digests, notes)
