"""A visitor's own experts. The router uses them like the shipped ones: they too are expert LoRAs on top of the shared LoRA."""

from __future__ import annotations

import io
import json
import re
import tempfile
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field, Strict, ValidationError
from safetensors.torch import load, save
from torch import Tensor

from core.backbones.base import photo_column
from core.backbones.lora import Lora
from core.backbones.lora_algebra import align, merge, reduce_rank
from core.backbones.peft_format import CONFIG_FILE, MAX_ADAPTER_BYTES, WEIGHTS_FILE, load_peft
from core.common.digest import digest
from core.common.errors import AdapterError, RepositoryError, StudioError, brief
from core.common.lazy import lazy
from core.common.messages import message
from core.common.schema import where_invalid
from core.common.tensor_files import DAMAGED
from core.common.text import clean_name, clean_text, free_name
from core.data.safe_zip import read_members
from core.experts.files import INDEX_FILE, TENSORS_FILE
from core.sglora.description import embed_descriptions
from core.sglora.engine import SGLora
from core.sglora.repository import Expert, ExpertRepository

MAX_OWN = 20
MAX_NUMBER = 1e4  # far above the numbers of a working LoRA, far below an overflow of squares in the prior
IMPORTED = "imported"
_MAX_CONFIG_BYTES = 2**20


@dataclass(frozen=True)
class OwnEntry:
    expert: Expert  # an imported one has no ``before`` and ``after``
    mean: Tensor  # [P]
    std: Tensor  # [P]
    embedding: Tensor  # [s], unit length
    lost: float = 0.0  # share of an imported adapter's squared norm lost by the experts' rank, 0 to 1

    @property
    def name(self) -> str:
        return self.expert.name


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
            stds=torch.cat([self.shipped.stds, torch.stack([e.std for e in self.entries])]),
            embeddings=torch.cat([self.shipped.embeddings, torch.stack([e.embedding for e in self.entries])]),
        )

    def engine(self, engine: SGLora) -> SGLora:
        return replace(engine, repository=self.repository)

    def add(self, expert: Expert, mean: Tensor, std: Tensor, embedding: Tensor, lost: float = 0.0) -> OwnExperts:
        """Add an own expert; the arguments are as in ``OwnEntry``. Raises RepositoryError: as ``check_room``, or when sizes are
        wrong or numbers unusable (NaN, huge, negative ``std``)."""
        self.check_room(expert.name)
        expert = replace(expert, name=clean_name(expert.name))
        size, width = self.shipped.layout.size, self.shipped.embeddings.shape[1]
        if mean.shape != (size,) or std.shape != (size,) or embedding.shape != (width,):
            shapes = ", ".join(str(tuple(numbers.shape)) for numbers in (mean, std, embedding))
            raise RepositoryError("CORE_OWN_UNFIT", name=expert.name, shapes=shapes, size=size, width=width)
        # NaN fails these comparisons too.
        sound = bool((mean.abs() <= MAX_NUMBER).all()) and bool(((std >= 0) & (std <= MAX_NUMBER)).all())
        if not sound or not bool(torch.isfinite(embedding).all()) or not bool(embedding.any()):
            raise RepositoryError("CORE_OWN_NUMBERS", name=expert.name)
        numbers = (mean.detach().float().clone(), std.detach().float().clone(), F.normalize(embedding.detach().float(), dim=0))
        return replace(self, entries=(*self.entries, OwnEntry(expert, *numbers, lost)))

    def check_room(self, name: str) -> None:
        """Raise RepositoryError if there are MAX_OWN own experts, or the name is taken (ignoring case) or unusable."""
        name = clean_name(name)
        if len(self.entries) >= MAX_OWN:
            raise RepositoryError("CORE_OWN_MANY", most=MAX_OWN)
        if self.has(name):
            raise RepositoryError("CORE_OWN_TAKEN", name=name)

    def remove(self, name: str) -> OwnExperts:
        """Remove an own expert. Raises RepositoryError: when there is none with this name."""
        kept = tuple(e for e in self.entries if e.name != name)
        if len(kept) == len(self.entries):
            raise RepositoryError("CORE_OWN_GONE", name=name)
        return replace(self, entries=kept)

    def has(self, name: str) -> bool:
        """Whether an expert has this name, ignoring case."""
        experts = (*self.shipped.experts, *(entry.expert for entry in self.entries))
        return any(e.name.casefold() == name.casefold() for e in experts)


def import_adapter(engine: SGLora, source: Path | bytes, description: str, own_experts: OwnExperts) -> OwnExperts:
    """Add an adapter in PEFT format as an own expert. Its name comes from ``description``, which routing compares.

    ``source``: the adapter's folder, or the bytes of a ZIP with its two files.

    The expert LoRA is the adapter minus the shared LoRA, reduced to the experts' rank. If the adapter itself loses less
    (``OwnEntry.lost``), it is reduced instead. On other linears, the adapter must equal the shared LoRA or change nothing. The
    factors are aligned with those of the experts. The expert has no measured gain, and the shipped experts' mean spread.

    Raises AdapterError: when it cannot be read, belongs to another backbone, or moves photos differently from the experts.
    DescriptionError: when the description is unusable. RepositoryError: as ``OwnExperts.add``.
    """
    description = clean_text(description)
    name = free_name(_short(description), own_experts.has)
    shipped = own_experts.shipped
    if isinstance(source, bytes):
        limits = {CONFIG_FILE: _MAX_CONFIG_BYTES, WEIGHTS_FILE: MAX_ADAPTER_BYTES}
        files = read_members(source, limits, "The adapter's ZIP", AdapterError)
        with tempfile.TemporaryDirectory(prefix="sg-lora-") as folder:
            unpacked = Path(folder) / "in the ZIP"  # errors name the folder
            unpacked.mkdir()
            for file, content in files.items():
                (unpacked / file).write_bytes(content)
            lora = _read(unpacked, shipped)
    else:
        lora = _read(source, shipped)
    rank = lora.rank
    if any(float(part.abs().max()) > MAX_NUMBER for f in lora.factors.values() for part in (f.a, f.b)):
        raise AdapterError("CORE_IMPORT_NUMBERS")
    lora, lost = _expert_lora(lora, shipped)
    vector = align(lora, Lora.from_vector(shipped.layout, shipped.origin)).vector()
    std = shipped.stds.square().mean(0).sqrt()
    expert = Expert(name, description, IMPORTED, f"adapter of rank {rank}", 0, 0, 1, {}, {})
    return own_experts.add(expert, vector, std, embed_descriptions(engine.backbone, [description])[0], lost)


def _read(folder: Path, shipped: ExpertRepository) -> Lora:
    """Read the adapter in a folder, on the linears of expert LoRAs."""
    modules = shipped.layout.modules
    others = [m for m in shipped.shared.modules if m not in modules] if shipped.shared else []
    if not shipped.shared or not others:
        return load_peft(folder, modules, shipped.fingerprint)[0]
    lora, _ = load_peft(folder, [*modules, *others], shipped.fingerprint, partly=True)
    if missing := [m.name for m in modules if m not in lora.modules]:
        raise AdapterError("CORE_IMPORT_PARTLY", name=missing[0])
    if lora.moves_photos:
        photo_column(lora, shipped.shared)
    return lora.only(modules)


def _expert_lora(lora: Lora, shipped: ExpertRepository) -> tuple[Lora, float]:
    """The adapter as an expert LoRA of the experts' rank, and the share of its squared norm that is lost, 0 to 1."""
    rank = shipped.layout.rank
    whole = reduce_rank(lora, rank)
    if shipped.shared is None:
        return whole
    difference = merge([lora, shipped.shared.only(lora.modules)], [1.0, -1.0])
    rest, lost = reduce_rank(difference, rank)
    lost *= _squared(difference) / max(_squared(lora), 1e-12)
    return (rest, lost) if lost < whole[1] else whole


def _squared(lora: Lora) -> float:
    return sum(norm**2 for norm in lora.norms().values())


def _short(description: str) -> str:
    words = re.sub(r"^(an? )?(photo|picture|image)s? of (an? |the )?", "", description, flags=re.IGNORECASE).split()
    return " ".join(words[:4])[:40].strip() or IMPORTED


@dataclass(frozen=True)
class _SavedExpert(Expert):
    lost: Annotated[float, Strict(), Field(ge=0, le=1)] = 0.0


class _SavedIndex(BaseModel, frozen=True):
    format: Literal[1]
    kind: Literal["own experts"]
    backbone_fingerprint: Annotated[str, Strict()]
    rank: Annotated[int, Strict()]
    tensors_sha256: Annotated[str, Strict()]
    experts: tuple[_SavedExpert, ...]


def _named(entry: _SavedExpert) -> Expert:
    """The expert with a cleaned name and description, and without keywords and forgetting from the file."""
    names = {"name": clean_name(entry.name), "description": clean_text(entry.description)}
    facts = {**asdict(entry), **names, "forgetting": {}, "keywords": ""}
    del facts["lost"]
    return Expert(**facts)


def save_zip(own_experts: OwnExperts) -> bytes:
    """The own experts as a ZIP: a readable index, and the tensors (float32, lossless). Raises RepositoryError: when there are
    none."""
    if not own_experts.entries:
        raise RepositoryError("CORE_OWN_NONE")
    entries = own_experts.entries
    tensors = save({"means": torch.stack([e.mean for e in entries]), "stds": torch.stack([e.std for e in entries])})
    index = {
        "format": 1,
        "kind": "own experts",
        "backbone_fingerprint": own_experts.shipped.fingerprint,
        "rank": own_experts.shipped.layout.rank,
        "parameters": own_experts.shipped.layout.size,
        "tensors_sha256": digest(tensors),
        "experts": [{**asdict(e.expert), "lost": e.lost} for e in entries],
    }
    files = {INDEX_FILE: json.dumps(index, indent=1, ensure_ascii=False).encode(), TENSORS_FILE: tensors}
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
    label, shipped = message("CORE_OWN_ZIP"), engine.repository
    limits = {INDEX_FILE: 2**20, TENSORS_FILE: 2**20 + 2 * 4 * MAX_OWN * shipped.layout.size}
    files = read_members(data, limits, str(label), RepositoryError)
    try:
        index = _SavedIndex.model_validate_json(files[INDEX_FILE])
        entries = [(_named(entry), entry.lost) for entry in index.experts]
    except StudioError as error:
        raise RepositoryError("CORE_OWN_ZIP_INVALID", label=label, error=error.message) from None
    except ValidationError as error:
        raise RepositoryError("CORE_OWN_ZIP_INDEX", label=label, file=INDEX_FILE, where=where_invalid(error)) from None
    if (index.backbone_fingerprint, index.rank) != (shipped.fingerprint, shipped.layout.rank):
        theirs, ours = (brief(index.backbone_fingerprint), brief(index.rank)), (shipped.fingerprint, shipped.layout.rank)
        raise RepositoryError("CORE_OWN_ZIP_OTHER", label=label, theirs=theirs, ours=ours)
    if digest(files[TENSORS_FILE]) != index.tensors_sha256:
        raise RepositoryError("CORE_OWN_ZIP_CHECKSUM", label=label, file=TENSORS_FILE)
    if not 1 <= len(entries) <= MAX_OWN:
        raise RepositoryError("CORE_OWN_ZIP_MANY", label=label, n=len(entries), most=MAX_OWN)
    try:
        tensors = load(files[TENSORS_FILE])
        means, stds = tensors["means"], tensors["stds"]
        if means.is_floating_point() and stds.is_floating_point():
            means, stds = means.float(), stds.float()  # torch has no abs() for float8
    except DAMAGED as error:
        raise RepositoryError("CORE_OWN_ZIP_DAMAGED", label=label, file=TENSORS_FILE, damage=type(error).__name__) from None
    shape = (len(entries), shipped.layout.size)
    if means.shape != shape or stds.shape != shape or not (means.is_floating_point() and stds.is_floating_point()):
        raise RepositoryError("CORE_OWN_ZIP_SIZE", label=label, file=TENSORS_FILE, n=shape[0], size=shape[1])
    own_experts = OwnExperts(shipped)
    embeddings = embed_descriptions(engine.backbone, [expert.description for expert, _ in entries])
    try:
        for (expert, lost), mean, std, embedding in zip(entries, means, stds, embeddings, strict=True):
            own_experts = own_experts.add(expert, mean, std, embedding, lost)
    except RepositoryError as error:
        raise RepositoryError("CORE_OWN_ZIP_INVALID", label=label, error=error.message) from None
    return own_experts
