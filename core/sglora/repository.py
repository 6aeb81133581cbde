"""Experts in memory: a shared LoRA, and the LoRA of each (paper: the expert repository).

``core.experts.files`` reads and writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import ConfigDict
from torch import Tensor

from core.backbones import EMBEDDED
from core.backbones.lora import Lora, LoraLayout
from core.backbones.lora_algebra import merge
from core.common.metrics import mean_of_ways
from core.common.schema import Count, Figure, Label, Measured, Text
from core.sglora.prior import SemanticPrior, semantic_prior
from core.sglora.router import Routing

CLASS_NAMES = "class names"  # in ``Expert.forgetting``


@dataclass(frozen=True)
class Expert:
    """One expert's entry in the index."""

    name: Text  # short and unique, such as "dog" or "aerial-1"
    description: Text  # the sentence that routing compares
    group: Label  # "scenes" for tasks found in captions, else the special domain
    source: Label  # the data set it was trained on
    images: Count  # number of training photos
    seed: Count
    snapshots: Count  # M, the number of averaged snapshots
    # Recalls on photos outside its training: {"i2t": {"R@1": …}, "t2i": {…}, "images": n}. Both are empty if not measured (an
    # imported adapter).
    before: Measured  # zero-shot
    after: Measured  # with the expert
    classes: tuple[Label, ...] = ()  # labels of the task, in a labelled domain
    # Points of R@1 that class names in "a photo of a …" lose under the expert; a gain is negative. Keys: CLASS_NAMES (everyday
    # photos), and the labelled domains that were measured.
    forgetting: Mapping[Text, Figure] = field(default_factory=dict)
    keywords: Text = ""  # other words for its topic; its embedding is the mean over them and the description
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


class PhotoSentences(NamedTuple):
    """A regression from the zero-shot embedding x of a photo to its sentence: (x - mean) @ weights (``retrieval.suggest``)."""

    mean: Tensor  # [d]
    weights: Tensor  # [d, s]


@dataclass(frozen=True)
class ExpertRepository:
    """All experts of one backbone. The weight change of an expert is the shared LoRA plus its own: dW = dW_shared + B_i A_i."""

    fingerprint: str  # of the backbone
    layout: LoraLayout  # of the vectors of expert LoRAs
    experts: tuple[Expert, ...]
    means: Tensor  # [n, P] mu_i of the expert LoRAs
    stds: Tensor  # [n, P] sigma_i
    embeddings: Tensor  # [n, s], unit length
    origin: Tensor  # [P], the initialisation of all expert LoRAs (B = 0 if there is a shared LoRA)
    notes: Mapping[str, Any] = field(default_factory=dict)  # about the training
    backbone: Mapping[str, Any] = field(default_factory=lambda: {"spec": EMBEDDED})  # its ``Backbone.choice``
    closeness_threshold: float | None = None  # below this closeness, no expert fits; None: not measured
    shared: Lora | None = None  # at the strength at which experts' training starts; None: expert LoRAs only, as in the paper
    photo_sentences: PhotoSentences | None = None  # None: it suggests nothing

    def __len__(self) -> int:
        return len(self.experts)

    def own(self, index: int) -> Lora:
        """The mean LoRA of one expert, without the shared LoRA."""
        return Lora.from_vector(self.layout, self.means[index])

    def lora(self, index: int) -> Lora:
        """The mean LoRA of one expert, with the shared LoRA."""
        return self.with_shared([self.own(index)], [1.0])

    def start(self) -> Lora:
        """The LoRA at which the training of all experts starts."""
        return self.shared or Lora.from_vector(self.layout, self.origin)

    def with_shared(self, own: Sequence[Lora], weights: Sequence[float]) -> Lora:
        """The shared LoRA, if there is one, plus the exact weighted sum of expert LoRAs (of weight changes)."""
        return merge([self.shared, *own], [1.0, *weights]) if self.shared else merge(own, weights)

    def prior(self, routing: Routing) -> SemanticPrior:
        """The semantic prior of the routed experts."""
        chosen = routing.chosen
        return semantic_prior(self.means[chosen], self.stds[chosen].square(), routing.weights)

    def merged(self, routing: Routing) -> Lora:
        """The exact weighted merge of the routed experts (of weight changes)."""
        return self.with_shared([self.own(i) for i in routing.chosen.tolist()], routing.weights.tolist())

    def generated(self, routing: Routing, prior: SemanticPrior, vector: Tensor) -> Lora:
        """The generated expert LoRA: the routed experts' exact merge, plus what the decoder adds to the prior's mean.

        As in the paper, the prior averages A and B separately. The product of these means is not the mean of the products, and
        costs recall if the routed experts differ (docs/design.md, section 2). So the merge takes its place. ``vector`` [P] is
        the generator's sample for this prior.
        """
        routed = [self.own(i) for i in routing.chosen.tolist()]
        decoded, mean = (Lora.from_vector(self.layout, v) for v in (vector, prior.mean))
        return merge([*routed, decoded, mean], [*routing.weights.tolist(), 1.0, -1.0])

    def subset(self, keep: Sequence[int]) -> ExpertRepository:
        """A repository of only the experts at these indexes."""
        experts, rows = tuple(self.experts[i] for i in keep), torch.as_tensor(list(keep))
        return replace(self, experts=experts, means=self.means[rows], stds=self.stds[rows], embeddings=self.embeddings[rows])
