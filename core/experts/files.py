"""The expert repository on disk: a readable index and one file of tensors; and the generator, another file.

``index.json`` names the backbone, and what each expert was trained on and gained. ``experts.safetensors`` holds one row per
expert in the same order: the means mu and the variances sigma^2 in the basis, and the embeddings of the descriptions. It also
holds what all experts share: the frozen A, the basis, a shared LoRA if it is not the backbone's, and the regression for
``retrieval.suggest``.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors.torch import load

from core.backbones.lora import Lora, LoraLayout
from core.backbones.spec import EMBEDDED, needed_options, portable
from core.common.digest import digest, tensors_digest
from core.common.errors import AdapterError, RepositoryError
from core.common.schema import BackboneChoice, Count, Figure, Text, where_invalid
from core.common.tensor_files import damage_raises, read_tensors, write_tensors
from core.retrieval.suggest import PhotoSentences
from core.sglora.generator import LoraGenerator
from core.sglora.repository import Expert, ExpertRepository
from core.sglora.subspace import Basis
from core.sglora.vae import ConditionalVAE, VaeConfig

INDEX_FILE = "index.json"
TENSORS_FILE = "experts.safetensors"
GENERATOR_FORMAT = "3"


class RepositoryIndex(BaseModel, frozen=True):
    """The content of ``index.json``: everything known about a repository before its backbone is loaded."""

    format: Literal[3] = 3
    fingerprint: Text = Field(alias="backbone_fingerprint")
    backbone: BackboneChoice  # arguments of ``load_backbone``
    linears: Annotated[tuple[Text, ...], Field(min_length=1)]  # adapted linears, in order
    rank: Count  # of the expert LoRAs
    shared_rank: Count = 0  # of the shared LoRA in this repository; 0: none, or it is the backbone's
    parameters: Count  # number in an expert LoRA
    checksum: Text = Field(alias="tensors_sha256")
    notes: Mapping[str, Any] = {}  # how the experts were trained
    closeness_threshold: Figure | None = None  # see ``ExpertRepository``
    experts: tuple[Expert, ...]

    @staticmethod
    def read(folder: Path) -> RepositoryIndex:
        """Read the index of a repository. Raises RepositoryError: when it is missing, damaged, or of another format."""
        try:
            return RepositoryIndex.model_validate_json(_read(folder, INDEX_FILE))
        except ValidationError as error:
            raise RepositoryError(f"{folder / INDEX_FILE} is damaged ({where_invalid(error)}): restore it.") from None


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise RepositoryError(f"{folder} lacks {name} ({error.strerror}): `python -m core train experts` writes it.") from None


def save_repository(repository: ExpertRepository, folder: Path) -> None:
    """Write the index and the tensors. The experts' means become their projections on the basis. The backbone's own shared LoRA
    is not written: the backbone has it."""
    layout, basis = repository.layout, repository.basis
    tensors = {f"{name}.a": a.half() for name, a in (layout.a or {}).items()}
    tensors |= {**basis.tensors(), "coordinates": repository.coordinates, "variances": repository.variances}
    tensors["embeddings"] = repository.embeddings.half()
    shared = repository.shared if repository.shared and repository.shared.modules == layout.modules else None
    if shared is not None:
        tensors["shared"] = shared.vector().half()
    if (of_photos := repository.photo_sentences) is not None:
        tensors |= zip(("photo_mean", "photo_weights"), (tensor.half() for tensor in of_photos), strict=True)
    write_tensors(folder / TENSORS_FILE, tensors)
    index = RepositoryIndex(
        backbone_fingerprint=repository.fingerprint,
        backbone=repository.backbone,
        linears=layout.names,
        rank=layout.rank,
        shared_rank=shared.rank if shared else 0,
        parameters=layout.size,
        tensors_sha256=digest((folder / TENSORS_FILE).read_bytes()),
        notes=dict(repository.notes),
        closeness_threshold=repository.closeness_threshold,
        experts=repository.experts,
    )
    (folder / INDEX_FILE).write_text(index.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")


def load_repository(folder: Path, layout: LoraLayout, fingerprint: str, shared: Lora | None = None) -> ExpertRepository:
    """Read a repository for the backbone with this layout, fingerprint and shared LoRA. Raises RepositoryError: when files are
    missing or damaged, or the experts have another backbone or linears outside its layout."""
    index = RepositoryIndex.read(folder)
    experts = index.experts
    raw = _read(folder, TENSORS_FILE)
    if digest(raw) != index.checksum:
        raise RepositoryError(f"{folder / TENSORS_FILE} is damaged (its checksum differs from the index): restore it.")
    if index.fingerprint != fingerprint:
        options = shlex.join(needed_options(portable(index.backbone))) or EMBEDDED
        others = f"another backbone (fingerprint {index.fingerprint}, this one is {fingerprint})"
        raise RepositoryError(f"The experts {folder} were trained on {others}. Their index names it: {options}")
    try:
        layout = LoraLayout.of({m.name: m for m in layout.modules}, index.linears, index.rank)
    except AdapterError as error:
        raise RepositoryError(f"The experts {folder} do not fit: {error.message} Try --adapt photos or texts.") from None
    with damage_raises(RepositoryError, folder / TENSORS_FILE):
        tensors = {name: tensor.float() for name, tensor in load(raw).items()}
        a = {m.name: tensors[f"{m.name}.a"] for m in layout.modules}
        basis = Basis.of(tensors["components"], tensors["steps"], tensors["scale"])
        coordinates, variances, embeddings = tensors["coordinates"], tensors["variances"], tensors["embeddings"]
        if index.shared_rank:
            shared = Lora.from_vector(LoraLayout(layout.modules, index.shared_rank), tensors["shared"])
        of_photos = PhotoSentences(tensors["photo_mean"], tensors["photo_weights"]) if "photo_mean" in tensors else None
        facts = (index.notes, index.backbone, index.closeness_threshold, shared, of_photos)
        unit = torch.nn.functional.normalize(embeddings, dim=-1)
        layout, means = layout.frozen(a), basis.decode(coordinates)
        if means.shape != (len(experts), layout.size) or not len(variances) == len(unit) == len(experts):
            raise ValueError("another number of experts, or of their parameters")
        return ExpertRepository(fingerprint, layout, experts, basis, means, variances, unit, *facts)


def save_generator(generator: LoraGenerator, path: Path) -> None:
    """Write the generator in float16."""
    tensors = {k: v.detach().half().contiguous() for k, v in generator.vae.state_dict().items()}
    metadata = {
        "format": GENERATOR_FORMAT,
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
        raise RepositoryError(f"The generator {path} is missing: `python -m core train generator` writes it.")
    with damage_raises(RepositoryError, path.name):
        stored, metadata = read_tensors(path)
        if (metadata["format"], metadata["tensors_sha256"]) != (GENERATOR_FORMAT, tensors_digest(stored)):
            raise ValueError("another format or checksum")
        with torch.device("meta"):  # takes no memory, whatever sizes the file claims; the file's tensors replace it
            vae = ConditionalVAE(VaeConfig(**json.loads(metadata["config"])))
        vae.load_state_dict({key: value.float() for key, value in stored.items()}, assign=True)
        theirs, basis, notes = metadata["backbone_fingerprint"], metadata["basis_sha256"], json.loads(metadata["notes"])
    if theirs != fingerprint:
        raise RepositoryError(f"The generator {path.name} belongs to backbone {theirs}, not to {fingerprint}.")
    return LoraGenerator(vae.eval().requires_grad_(False), fingerprint, basis, notes)
