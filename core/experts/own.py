"""A visitor's own experts. The router uses them like the shipped ones: they too are expert LoRAs on top of the shared LoRA."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field, Strict, ValidationError
from safetensors.torch import load, save
from torch import Tensor

from core.backbones.base import photo_column
from core.backbones.description import embed_descriptions, subject
from core.backbones.inputs import second_moments
from core.backbones.lora import TEXT, Lora
from core.backbones.lora_algebra import merge, project
from core.backbones.peft_format import FILES, MAX_ADAPTER_BYTES, read_peft
from core.common.errors import AdapterError, RepositoryError, StudioError
from core.common.lazy import lazy
from core.common.messages import message
from core.common.schema import where_invalid
from core.common.tensor_files import damage_raises
from core.common.text import clean_name, clean_text, free_name
from core.data.image_io import open_photo
from core.data.safe_zip import read_members
from core.data.sample_photos import sample_photos
from core.experts.files import INDEX_FILE, TENSORS_FILE
from core.names.ordinary_texts import ordinary_texts
from core.sglora.engine import SGLora
from core.sglora.repository import Expert, ExpertRepository

MAX_OWN = 20
MAX_NUMBER = 1e4  # far above the numbers of a working LoRA, far below an overflow of squares in the prior
IMPORTED = "imported"
MAX_LOST = 0.1
_moments: dict[tuple[str, ...], dict[str, Tensor]] = {}  # see ``_ordinary_moments``
NOISE = 1e-8  # a squared difference below this share is rounding: the adapter is the shared LoRA


@dataclass(frozen=True, eq=False)
class OwnEntry:
    expert: Expert  # an imported one has no ``before`` and ``after``
    mean: Tensor  # [P]
    variance: Tensor  # [D], in the experts' basis
    embedding: Tensor  # [s], unit length
    rest: Lora | None = None  # an imported adapter that would lose more than MAX_LOST; its mean is 0

    @property
    def name(self) -> str:
        return self.expert.name

    @property
    def memory(self) -> int:
        return 4 * (len(self.mean) + len(self.variance) + len(self.embedding) + (self.rest.parameters if self.rest else 0))


@dataclass(frozen=True)
class OwnExperts:
    """The shipped experts, and the visitor's own after them. Immutable: each change returns a new object."""

    shipped: ExpertRepository
    entries: tuple[OwnEntry, ...] = ()

    @lazy
    def repository(self) -> ExpertRepository:
        """All experts as one repository. The shipped ones keep their indexes."""
        if not self.entries:
            return self.shipped
        return replace(
            self.shipped,
            experts=(*self.shipped.experts, *(e.expert for e in self.entries)),
            means=torch.cat([self.shipped.means, torch.stack([e.mean for e in self.entries])]),
            variances=torch.cat([self.shipped.variances, torch.stack([e.variance for e in self.entries])]),
            rests={len(self.shipped) + i: e.rest for i, e in enumerate(self.entries) if e.rest},
            embeddings=torch.cat([self.shipped.embeddings, torch.stack([e.embedding for e in self.entries])]),
        )

    def engine(self, engine: SGLora) -> SGLora:
        return replace(engine, repository=self.repository)

    def add(self, entry: OwnEntry) -> OwnExperts:
        """Add an own expert. Raises RepositoryError: as ``check_room``, or when sizes are wrong or numbers invalid (NaN, huge,
        negative variances)."""
        self.check_room(entry.name)
        name, mean, variance, embedding = entry.name, entry.mean.float(), entry.variance.float(), entry.embedding.float()
        sizes = self.shipped.layout.size, self.shipped.basis.dimensions, self.shipped.embeddings.shape[1]
        shapes = [tuple(numbers.shape) for numbers in (mean, variance, embedding)]
        if shapes != [(size,) for size in sizes]:
            raise RepositoryError(f"Expert {name} does not fit this backbone: {shapes} numbers, not {sizes}.")
        rest = entry.rest.tensors().values() if entry.rest else ()
        # NaN fails these comparisons too.
        sound = all(bool((part.abs() <= MAX_NUMBER).all()) for part in (mean, variance, *rest)) and bool((variance >= 0).all())
        if not sound or not bool(torch.isfinite(embedding).all()) or not bool(embedding.any()):
            raise RepositoryError(f"Expert {name} holds invalid numbers (NaN, infinite, negative or too large).")
        expert = replace(entry.expert, name=clean_name(name))
        own = (mean.detach().clone(), variance.detach().clone(), F.normalize(embedding.detach(), dim=0))
        return replace(self, entries=(*self.entries, OwnEntry(expert, *own, entry.rest)))

    def check_room(self, name: str) -> None:
        """Raise RepositoryError if there are MAX_OWN own experts, or the name is taken (ignoring case) or invalid."""
        name = clean_name(name)
        if len(self.entries) >= MAX_OWN:
            raise RepositoryError("There are {most} own experts, the most there may be: remove one first.", most=MAX_OWN)
        if self.has(name):
            raise RepositoryError("There is an expert called {name} already: choose another name.", name=name)

    def remove(self, name: str) -> OwnExperts:
        """Remove an own expert. Raises RepositoryError: when there is none with this name."""
        kept = tuple(e for e in self.entries if e.name != name)
        if len(kept) == len(self.entries):
            raise RepositoryError("There is no own expert called {name}.", name=name)
        return replace(self, entries=kept)

    def has(self, name: str) -> bool:
        """Whether an expert has this name, ignoring case."""
        experts = (*self.shipped.experts, *(entry.expert for entry in self.entries))
        return any(e.name.casefold() == name.casefold() for e in experts)


def adapter_in_zip(data: bytes) -> dict[str, bytes]:
    """The two files of an adapter in a ZIP. Raises AdapterError: as ``read_members``."""
    return read_members(data, FILES, "The adapter's ZIP", AdapterError)


def import_adapter(engine: SGLora, files: Mapping[str, bytes], description: str, own_experts: OwnExperts) -> OwnExperts:
    """Add an adapter in PEFT format (``files``: the contents of FILES) as an own expert. Its name comes from ``description``,
    which routing compares.

    The expert LoRA is the adapter, minus the shared LoRA if it was built on it, projected on the frozen A over ordinary texts
    (or sample photos). If more than MAX_LOST of its effect is lost, the adapter is kept as it came. On other linears, the
    adapter must equal the shared LoRA or change nothing. The expert has no measured gain, and the shipped experts' mean spread.

    Raises AdapterError: when it cannot be read, belongs to another backbone, or moves photos differently from the experts.
    DescriptionError: when the description is invalid. RepositoryError: as ``OwnExperts.add``.
    """
    description = clean_text(description)
    short = " ".join(subject(description).split()[:4])[:40].strip()
    name = free_name(short or IMPORTED, own_experts.has)
    shipped = own_experts.shipped
    adapter = _read(files, shipped)
    lora = _expert_lora(adapter, shipped.shared)
    mean, lost = project(lora, shipped.layout, _ordinary_moments(engine))
    rest = None
    if lost > MAX_LOST:
        mean, lost, rest = torch.zeros_like(mean), 0.0, lora
    expert = Expert(name, description, IMPORTED, f"adapter of rank {adapter.rank}", 0, 0, 1, {}, {}, lost=lost)
    embedding = embed_descriptions(engine.backbone, [description])[0]
    return own_experts.add(OwnEntry(expert, mean, shipped.variances.mean(0), embedding, rest))


def _read(files: Mapping[str, bytes], shipped: ExpertRepository) -> Lora:
    modules, shared = shipped.layout.modules, shipped.shared
    linears = dict.fromkeys([*modules, *(shared.modules if shared else ())])
    lora, _ = read_peft(files, message("Adapter {name}", name="of yours"), linears, shipped.fingerprint)
    if missing := [m.name for m in modules if m not in lora.modules]:
        raise AdapterError(f"The adapter does not adapt {missing[0]}, but all experts here do: use one that does.")
    if shared and not shipped.layout.moves_photos:
        photo_column(lora, shared)
    return lora.only(modules)


def _expert_lora(lora: Lora, shared: Lora | None) -> Lora:
    """The adapter without the shared LoRA, if it was built on it: then the difference is the smaller change."""
    if shared is None:
        return lora
    difference = merge([lora, shared.only(lora.modules)], [1.0, -1.0])
    if _squared(difference) < NOISE * _squared(lora):
        return lora.scaled(0.0)
    return difference if _squared(difference) < _squared(lora) else lora


def _ordinary_moments(engine: SGLora) -> dict[str, Tensor]:
    """Second moments of the adapted linears' inputs over ordinary texts, or sample photos, under the shared LoRA. Cached."""
    backbone, modules, shared = engine.backbone, engine.repository.layout.modules, engine.repository.shared
    key = backbone.fingerprint, shared.digest if shared else "", *(m.name for m in modules)
    if key not in _moments:
        if modules[0].name.startswith(TEXT):
            prefixes = backbone.text_prefix(ordinary_texts())
        else:
            prefixes = backbone.prefix(torch.stack([backbone.pixels(open_photo(photo.path)) for photo in sample_photos()]))
        _moments[key] = second_moments(backbone, modules, prefixes, shared)
    return _moments[key]


def _squared(lora: Lora) -> float:
    return sum(float(f.delta.square().sum()) for f in lora.factors.values())


class _SavedIndex(BaseModel, frozen=True):
    format: Literal[2]
    kind: Literal["own experts"]
    basis_sha256: Annotated[str, Strict()]  # see ``_joined``
    experts: Annotated[tuple[Expert, ...], Field(min_length=1, max_length=MAX_OWN)]


def _joined(shipped: ExpertRepository) -> str:
    """What own experts belong to: the basis of the shipped experts, or the backbone if none ship."""
    return shipped.basis.digest if len(shipped) else shipped.fingerprint


def save_zip(own_experts: OwnExperts) -> bytes:
    """The own experts as a ZIP: a readable index, and the tensors (float32, lossless). Raises RepositoryError: when there are
    none."""
    if not own_experts.entries:
        raise RepositoryError("There are no own experts to save yet: train one, or import an adapter.")
    entries = own_experts.entries
    numbers = {"means": torch.stack([e.mean for e in entries]), "variances": torch.stack([e.variance for e in entries])}
    for i, rest in ((i, entry.rest) for i, entry in enumerate(entries) if entry.rest):
        numbers |= {f"{i}.{name}": part.contiguous() for name, part in rest.tensors().items()}
    experts = tuple(entry.expert for entry in entries)
    index = _SavedIndex(format=2, kind="own experts", basis_sha256=_joined(own_experts.shipped), experts=experts)
    files = {INDEX_FILE: index.model_dump_json(indent=1).encode(), TENSORS_FILE: save(numbers)}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # no date: equal experts give equal files
    return out.getvalue()


def load_zip(data: bytes, engine: SGLora) -> OwnExperts:
    """The engine's experts with the own experts of a ZIP from ``save_zip``.

    Descriptions are encoded again, so that an expert cannot claim another topic. Raises RepositoryError: when the ZIP is
    damaged, another one, too large, of another backbone, or has a name that is taken.
    """
    label, shipped = message("The experts' ZIP"), engine.repository
    limits = {INDEX_FILE: 2**20, TENSORS_FILE: MAX_ADAPTER_BYTES}
    files = read_members(data, limits, str(label), RepositoryError)
    try:
        index = _SavedIndex.model_validate_json(files[INDEX_FILE])
    except ValidationError as error:
        raise RepositoryError(f"{label}: its {INDEX_FILE} is not that of saved experts ({where_invalid(error)}).") from None
    if index.basis_sha256 != _joined(shipped):
        raise RepositoryError(f"{label} belongs to other experts or to an older version: train these experts again.")
    with damage_raises(RepositoryError, f"{label}: {TENSORS_FILE}"):
        tensors = {name: tensor.float() for name, tensor in load(files[TENSORS_FILE]).items()}
        rests = [Lora.read(tensors, shipped.layout.modules, f"{i}.") for i in range(len(index.experts))]
        numbers = list(zip(index.experts, tensors["means"], tensors["variances"], rests, strict=True))
    own_experts = OwnExperts(shipped)
    try:
        for saved, mean, variance, rest in numbers:
            texts = {"name": clean_name(saved.name), "description": clean_text(saved.description)}
            expert = replace(saved, **texts, forgetting={}, keywords="")
            embedding = embed_descriptions(engine.backbone, [expert.description])[0]
            own_experts = own_experts.add(OwnEntry(expert, mean, variance, embedding, rest if rest.modules else None))
    except StudioError as error:
        raise RepositoryError("{label}: {error}", label=label, error=error.message) from None
    return own_experts
