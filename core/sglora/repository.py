"""The expert repository in memory: a shared LoRA, and one expert LoRA for each topic.

``core.experts.files`` reads and writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor

from core.backbones import EMBEDDED
from core.backbones.base import Backbone
from core.backbones.lora import Lora, LoraLayout, initial_vector
from core.backbones.lora_algebra import merge
from core.common.errors import DescriptionError, brief
from core.common.lazy import lazy
from core.common.metrics import mean_of_ways
from core.common.recent import Recent
from core.common.schema import Count, Figure, Label, Measured, Share, Text
from core.common.text import listed
from core.sglora.prior import SemanticPrior, semantic_prior
from core.sglora.router import Routing
from core.sglora.subspace import Basis

EVERYDAY = "scenes"  # the group of experts for everyday photos
CLASS_NAMES = "class names"  # in ``Expert.forgetting``
OWN_RANK = 16  # of own experts for a backbone that ships none


@dataclass(frozen=True)
class Expert:
    """One expert's entry in the index."""

    name: Text  # short and unique, such as "dog" or "aerial-1"
    description: Text  # the sentence that routing compares
    group: Label  # EVERYDAY for tasks found in captions, else the special domain
    source: Label  # the data set it was trained on
    images: Count  # number of training photos
    seed: Count
    snapshots: Count  # M, the number of averaged snapshots
    # Recall on photos that did not train it: {"i2t": {"R@1": …}, "t2i": {…}, "images": n}. Empty if not measured (imported).
    before: Measured  # zero-shot
    after: Measured  # with the expert
    classes: tuple[Label, ...] = ()  # labels of the task, in a labelled domain
    # Points of R@1 that class names in "a photo of a …" lose under the expert; a gain is negative. Keys: CLASS_NAMES (everyday
    # photos), and the labelled domains that were measured.
    forgetting: Mapping[Text, Figure] = field(default_factory=dict)
    keywords: Text = ""  # other words for its topic; its embedding is the mean over them and the description
    lost: Share = 0.0  # of an imported adapter's effect, what the frozen A cannot hold
    shared: Measured = field(default_factory=dict)  # as ``after``, under the shared LoRA alone; of own experts, if known
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        if bool(self.before) != bool(self.after):
            raise ValueError(f"{self.name}: measured before or after only")

    @property
    def measured(self) -> bool:
        return bool(self.before)

    def gain(self, k: int = 1) -> float | None:
        """Gain in R@k over zero-shot, mean of both directions, in points; None if not measured."""
        if not self.measured:
            return None
        return mean_of_ways(self.after, f"R@{k}") - mean_of_ways(self.before, f"R@{k}")


@dataclass(frozen=True)
class ExpertRepository:
    """All experts of one backbone. The weight change of an expert is dW_shared + B_i A: the shared LoRA, and its own LoRA with
    the frozen A of all experts."""

    fingerprint: str  # of the backbone
    layout: LoraLayout  # of expert LoRAs, with the frozen A
    experts: tuple[Expert, ...]
    basis: Basis  # of the shipped experts' vectors
    means: Tensor  # [n, P] mu_i: the B's of each expert
    variances: Tensor  # [n, D] sigma_i^2 along each direction of the basis
    embeddings: Tensor  # [n, s], unit length: the experts' keys
    notes: Mapping[str, Any] = field(default_factory=dict)  # about the training
    backbone: Mapping[str, Any] = field(default_factory=lambda: {"spec": EMBEDDED})  # its ``Backbone.choice``
    closeness_threshold: float | None = None  # below this closeness, no expert fits; None: not measured
    shared: Lora | None = None  # at the strength at which experts' training starts; None: expert LoRAs only, as in the paper
    photo_sentences: tuple[Tensor, Tensor] | None = None  # ``retrieval.suggest.PhotoSentences``; None: no suggestions
    rests: Mapping[int, Lora] = field(default_factory=dict)  # by expert: what an imported LoRA has beyond the frozen A

    @staticmethod
    def empty(backbone: Backbone) -> ExpertRepository:
        """A repository without experts. Own experts share one random frozen A, equal on all machines (LoRA-FA, arXiv
        2308.03303)."""
        layout = replace(backbone.layout, rank=OWN_RANK)
        layout = layout.frozen({name: f.a for name, f in Lora.from_vector(layout, initial_vector(layout, 0)).factors.items()})
        none = torch.zeros(0, layout.size)
        numbers = (Basis(none, torch.zeros(0)), none, torch.zeros(0, 0), torch.zeros(0, backbone.sentence_dim))
        return ExpertRepository(backbone.fingerprint, layout, (), *numbers, backbone=backbone.choice, shared=backbone.shared)

    def __len__(self) -> int:
        return len(self.experts)

    @lazy
    def coordinates(self) -> Tensor:
        """mu_i in the basis, [n, D]."""
        return self.basis.encode(self.means)

    @lazy
    def controls(self) -> Recent[Any]:
        """The adapters that were last made of random sentences: the same for all weights by hand, and for all visitors."""
        return Recent(16)  # of 2 MB each

    def index_of(self, name: str) -> int:
        """The index of an expert, by its name or description. Raises DescriptionError: when there is none."""
        names = [name for e in self.experts for name in (e.name, e.description)]
        if name in names:
            return names.index(name) // 2
        close = listed([f"“{each}”" for each in get_close_matches(brief(name), names, 3, 0)])
        raise DescriptionError("There is no expert “{name}”: the closest are {close}.", name=brief(name), close=close)

    def lora(self, index: int) -> Lora:
        """The mean LoRA of one expert, with the shared LoRA."""
        return self.merged(torch.tensor([index]), torch.ones(1))

    def with_shared(self, own: Lora) -> Lora:
        """The shared LoRA, if there is one, plus an expert LoRA."""
        return merge([self.shared, own], [1.0, 1.0]) if self.shared else own

    def merged(self, chosen: Tensor, weights: Tensor) -> Lora:
        """The exact merge of experts, sum_i w_i B_i A, with the shared LoRA."""
        return self.with_shared(self._lora(chosen, weights, weights @ self.means[chosen]))

    def prior(self, routing: Routing) -> SemanticPrior:
        return semantic_prior(self.coordinates[routing.chosen], self.variances[routing.chosen], routing.weights)

    def generated(self, routing: Routing, theta: Tensor) -> Lora:
        """The generated expert LoRA with coordinates theta [D]. What own experts have outside the basis is merged exactly."""
        chosen, weights = routing.chosen, routing.weights
        step = theta - weights @ self.coordinates[chosen]
        return self._lora(chosen, weights, weights @ self.means[chosen] + self.basis.decode(step))

    def _lora(self, chosen: Tensor, weights: Tensor, vector: Tensor) -> Lora:
        rests = [(self.rests[i], w) for i, w in zip(chosen.tolist(), weights.tolist(), strict=True) if i in self.rests]
        own = Lora.from_vector(self.layout, vector)
        return merge([own, *(rest for rest, _ in rests)], [1.0, *(w for _, w in rests)]) if rests else own

    def subset(self, keep: Sequence[int]) -> ExpertRepository:
        """A repository of only the experts at these indexes."""
        experts, rows = tuple(self.experts[i] for i in keep), torch.as_tensor(list(keep))
        numbers = {name: getattr(self, name)[rows] for name in ("means", "variances", "embeddings")}
        rests = {new: self.rests[old] for new, old in enumerate(keep) if old in self.rests}
        return replace(self, experts=experts, rests=rests, **numbers)
