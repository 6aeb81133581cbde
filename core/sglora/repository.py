"""The expert repository on disk: a readable index and two safetensors files' worth of numbers in one.

``index.json`` says for which backbone, what each expert was trained on and what it gained; ``experts.safetensors`` holds,
row by row in the same order, the means mu, the standard deviations sigma and the embeddings of the descriptions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from core.backbones import EMBEDDED
from core.backbones.lora import Lora, LoraLayout
from core.backbones.lora_algebra import merge
from core.common.digest import digest
from core.common.errors import AdapterError, RepositoryError, brief
from core.common.tensor_files import write_tensors
from core.sglora.confidence import Confidence, ConfidenceModel, known_transfers
from core.sglora.index_schema import BackboneChoice, Count, Figure, Label, Measured, Text, where_invalid
from core.sglora.prior import SemanticPrior, semantic_prior
from core.sglora.router import Routing

INDEX_FILE = "index.json"
TENSORS_FILE = "experts.safetensors"
FORMAT = 1
CLASS_NAMES = "class names"  # in ``Expert.forgetting``


@dataclass(frozen=True)
class Expert:
    """One expert's entry in the index.

    Attributes:
        name: short and unique, such as "dog" or "aerial-1".
        description: the sentence that routing compares, such as "a photo of a dog".
        group: "scenes" for tasks found in captions, else the special domain.
        source: the data set it was trained on.
        images: number of training photos; ``seed``: of its training; ``snapshots``: M, how many were averaged.
        before, after: zero-shot's and the expert's recall on photos it was not trained on,
            {"i2t": {"R@1": …}, "t2i": {…}, "images": n}; both empty where nobody measured (an imported adapter).
        classes: the labels of a label domain's task, else empty.
        transfer: what was gained on its photos, in points (mean of R@1 and R@5, both directions), by experts of other domains
        or
            topics alone: the confidence rests on it. None where nobody left it out.
        forgetting: points of R@1 (class names, as "a photo of a …") that are lost under the expert: "class names" of everyday
            photos, and each labelled domain that was measured; below zero where they are gained. Empty where nobody measured.
        keywords: other words for what it is about; its embedding is the mean over them and the description.
    """

    name: Text
    description: Text
    group: Label
    source: Label
    images: Count
    seed: Count
    snapshots: Count
    before: Measured
    after: Measured
    classes: tuple[Label, ...] = ()
    transfer: Figure | None = None
    forgetting: Mapping[Text, Figure] = field(default_factory=dict)
    keywords: Text = ""
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        if bool(self.before) != bool(self.after):
            raise ValueError(f"{self.name}: measured before or after only")

    @property
    def measured(self) -> bool:
        """Whether its gain is known."""
        return bool(self.before and self.after)

    def gain(self, k: int = 1) -> float | None:
        """Gain in R@k over zero-shot, mean of both directions, in points; None where it is unknown."""
        if not self.measured:
            return None
        return sum(self.after[way][f"R@{k}"] - self.before[way][f"R@{k}"] for way in ("i2t", "t2i")) / 2


class RepositoryIndex(BaseModel, frozen=True):
    """What ``index.json`` says: all that can be known of a repository before its backbone is loaded.

    Attributes:
        fingerprint: of the backbone the experts were trained on.
        backbone: arguments of ``core.backbones.load_backbone`` that load it, {"spec", "pretrained", "adapt_blocks"}; an
            index that names none is of the embedded one.
        rank: of the experts' own parts. shared_rank: of the part that they share; 0: there is none.
        parameters: of an own part. experts: their entries.
        checksum: sha256 of the tensors file. notes: how they were trained.
        confidence: see ``ExpertRepository``.
    """

    format: Literal[1] = FORMAT
    fingerprint: Text = Field(alias="backbone_fingerprint")
    backbone: BackboneChoice = Field({"spec": EMBEDDED}, validate_default=True)
    rank: Count
    shared_rank: Count = 0
    parameters: Count = 0
    checksum: Text = Field(alias="tensors_sha256")
    notes: Mapping[str, Any] = {}
    confidence: ConfidenceModel | None = None
    experts: tuple[Expert, ...]

    @staticmethod
    def read(folder: Path) -> RepositoryIndex:
        """Read the index of a repository.

        Raises:
            RepositoryError: it is missing or damaged.
        """
        label = f"The expert repository {folder}"
        try:
            raw = (folder / INDEX_FILE).read_bytes()
            return RepositoryIndex.model_validate_json(raw)
        except FileNotFoundError:
            raise RepositoryError(f"{label} lacks {INDEX_FILE}: `python -m core train experts` writes it.") from None
        except OSError as error:
            raise RepositoryError(f"{label} has an {INDEX_FILE} that cannot be read ({error.strerror}).") from None
        except ValidationError as error:
            if any(e["loc"] == ("format",) for e in error.errors()):
                stated = brief(json.loads(raw)["format"])
                raise RepositoryError(f"{label} has an {INDEX_FILE} of format {stated}; this version reads {FORMAT}.") from None
            raise RepositoryError(f"{label} has a damaged {INDEX_FILE} ({where_invalid(error)}): restore it.") from None

    def write(self, folder: Path) -> None:
        """Write it into a repository's folder."""
        content = self.model_dump(mode="json", by_alias=True)
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (folder / INDEX_FILE).write_text(text + "\n", encoding="utf-8")


def name_backbone(folder: Path, choice: Mapping[str, Any]) -> None:
    """Make the index of a repository say how its backbone is loaded: what is a path there is one here no longer."""
    index = RepositoryIndex.read(folder)
    named = RepositoryIndex.model_validate({**index.model_dump(by_alias=True), "backbone": choice})
    if named != index:
        named.write(folder)


@dataclass(frozen=True)
class ExpertRepository:
    """All experts of one backbone. An expert is what all share plus its own part, in weight changes: dW = dW_shared + B_i A_i.

    Attributes:
        fingerprint: of the backbone they were trained on.
        layout: of the vectors of their own parts.
        experts: index entries.
        means: [n, P] mu_i of the own parts. stds: [n, P] sigma_i. embeddings: [n, s], unit length.
        origin: [P] the initialisation that all own parts share (B = 0 where there is a shared part).
        shared: what all experts share, as strong as they began with it; None: nothing, an expert is its own part (the paper).
        notes: how they were trained.
        backbone: how the backbone is loaded, as in ``RepositoryIndex``.
        confidence: how likely it is that adapting helps, calibrated by leaving experts out; None where nobody did.
    """

    fingerprint: str
    layout: LoraLayout
    experts: tuple[Expert, ...]
    means: Tensor
    stds: Tensor
    embeddings: Tensor
    origin: Tensor
    notes: Mapping[str, Any] = field(default_factory=dict)
    backbone: Mapping[str, Any] = field(default_factory=lambda: {"spec": EMBEDDED})
    confidence: ConfidenceModel | None = None
    shared: Lora | None = None

    def __len__(self) -> int:
        return len(self.experts)

    def own(self, index: int) -> Lora:
        """The own part of one expert."""
        return Lora.from_vector(self.layout, self.means[index])

    def lora(self, index: int) -> Lora:
        """The mean LoRA of one expert, with what all share."""
        return self.with_shared([self.own(index)], [1.0])

    def start(self) -> Lora:
        """Where all experts begin."""
        return self.shared or Lora.from_vector(self.layout, self.origin)

    def with_shared(self, own: Sequence[Lora], weights: Sequence[float]) -> Lora:
        """The shared part, if there is one, plus a weighted sum of own parts, exactly, in delta-W."""
        return merge([self.shared, *own], [1.0, *weights]) if self.shared else merge(own, weights)

    def prior(self, routing: Routing) -> SemanticPrior:
        """The semantic prior of experts that a description was routed to."""
        chosen = routing.chosen
        return semantic_prior(self.means[chosen], self.stds[chosen].square(), routing.weights)

    def merged(self, routing: Routing) -> Lora:
        """The routed experts merged with their weights, exactly, in delta-W."""
        return self.with_shared([self.own(i) for i in routing.chosen.tolist()], routing.weights.tolist())

    def judge(self, routing: Routing, about_photos: bool = True) -> Confidence | None:
        """How likely it is that adapting to a description routed over these experts helps; None without a calibration.

        ``about_photos`` as in ``ConfidenceModel.judge``.
        """
        if self.confidence is None:
            return None
        transfers = known_transfers([e.transfer for e in self.experts])
        forgetting = torch.tensor([float(e.forgetting.get(CLASS_NAMES, 0.0)) for e in self.experts])
        return self.confidence.judge(routing, transfers, forgetting, about_photos)

    def subset(self, keep: Sequence[int]) -> ExpertRepository:
        """The repository with only the experts at these indexes."""
        rows = torch.as_tensor(list(keep), dtype=torch.long)
        experts = tuple(self.experts[i] for i in rows.tolist())
        picked = {"means": self.means[rows], "stds": self.stds[rows], "embeddings": self.embeddings[rows]}
        return replace(self, experts=experts, **picked)

    def save(self, folder: Path) -> None:
        """Write the index and the tensors (float16)."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            "means": self.means.half().contiguous(),
            "stds": self.stds.half().contiguous(),
            "embeddings": self.embeddings.half().contiguous(),
            "origin": self.origin.half().contiguous(),
        }
        if self.shared is not None:
            tensors["shared"] = self.shared.vector().half().contiguous()
        write_tensors(folder / TENSORS_FILE, tensors)
        RepositoryIndex(
            backbone_fingerprint=self.fingerprint,
            backbone=self.backbone,
            rank=self.layout.rank,
            shared_rank=self.shared.rank if self.shared else 0,
            parameters=self.layout.size,
            tensors_sha256=digest((folder / TENSORS_FILE).read_bytes()),
            notes=dict(self.notes),
            confidence=self.confidence,
            experts=self.experts,
        ).write(folder)

    @staticmethod
    def load(folder: Path, layout: LoraLayout, fingerprint: str) -> ExpertRepository:
        """Read a repository for the backbone with this layout and fingerprint.

        Raises:
            RepositoryError: missing or damaged files, or experts of another backbone.
        """
        label = f"The expert repository {folder}"
        index = RepositoryIndex.read(folder)
        experts = index.experts
        try:
            raw = (folder / TENSORS_FILE).read_bytes()
        except FileNotFoundError:
            raise RepositoryError(f"{label} lacks {TENSORS_FILE}: `python -m core train experts` writes it.") from None
        except OSError as error:
            raise RepositoryError(f"{label} has a {TENSORS_FILE} that cannot be read ({error.strerror}).") from None
        if digest(raw) != index.checksum:
            raise RepositoryError(f"{label} has a damaged {TENSORS_FILE} (its checksum differs from the index): restore it.")
        if index.fingerprint != fingerprint:
            raise RepositoryError(
                f"{label} was trained on another backbone (fingerprint {index.fingerprint}, this one is {fingerprint})."
            )
        layout = LoraLayout(layout.modules, index.rank)
        try:
            tensors = load_file(folder / TENSORS_FILE)
            means, stds = tensors["means"].float(), tensors["stds"].float()
            embeddings, origin = tensors["embeddings"].float(), tensors["origin"].float()
            shared = None
            if index.shared_rank:
                shared = Lora.from_vector(LoraLayout(layout.modules, index.shared_rank), tensors["shared"].float())
        except (SafetensorError, KeyError, AdapterError) as error:
            raise RepositoryError(f"{label} has a damaged {TENSORS_FILE} ({type(error).__name__}): restore it.") from None
        n = len(experts)
        fits = means.shape == stds.shape == (n, layout.size) and origin.shape == (layout.size,)
        if not n or not fits or embeddings.dim() != 2 or len(embeddings) != n:
            raise RepositoryError(
                f"{label} is inconsistent: {INDEX_FILE} lists {n} experts of {layout.size:,} parameters, "
                f"{TENSORS_FILE} holds {' x '.join(map(str, means.shape))} numbers."
            )
        embeddings = torch.nn.functional.normalize(embeddings, dim=-1)
        numbers = (means, stds, embeddings, origin)
        return ExpertRepository(fingerprint, layout, experts, *numbers, index.notes, index.backbone, index.confidence, shared)
