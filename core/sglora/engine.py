"""SG-LoRA (arXiv 2509.10535), online: from one sentence to a LoRA, with no image and no training.

sentence -> Routing -> SemanticPrior -> z ~ p(z | c) -> LoRA
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from core.backbones.base import Backbone
from core.backbones.description import embed_descriptions
from core.backbones.lora import Lora
from core.common.errors import DescriptionError
from core.common.runtime import one_core
from core.common.stopwatch import Stopwatch
from core.sglora.fit import Fit
from core.sglora.generator import LoraGenerator, Sample
from core.sglora.prior import SemanticPrior
from core.sglora.repository import ExpertRepository
from core.sglora.request import DEFAULT_WEIGHT, MAX_STRENGTH, AdapterRequest, Weights
from core.sglora.router import DEFAULT_K, DEFAULT_TAU, Routing, SparseRouter


@dataclass(frozen=True)
class Adaptation:
    """A generated LoRA and the steps that led to it."""

    request: AdapterRequest
    routing: Routing
    fits: bool  # whether the expert LoRA is applied
    prior: SemanticPrior  # c
    z: Tensor  # [latent], the sample; empty without a generator
    own: Lora  # the generated expert LoRA
    full: Lora  # the generated LoRA: the shared LoRA, plus the expert LoRA (times 0 if no expert fits)
    strength: float  # the request's strength, or the default
    lora: Lora  # the LoRA to search with, see ``SGLora.applied``
    weight: float  # the weight of its scores
    seconds: Mapping[str, float]  # by step: "encode", "route", "prior", "decode"


@dataclass(frozen=True)
class SGLora:
    """The online phase: one backbone, its experts and its generator. It holds no visitor's state."""

    backbone: Backbone
    repository: ExpertRepository
    generator: LoraGenerator | None  # None if no experts ship: a LoRA is then the exact merge of own experts

    @property
    def parameters(self) -> int:
        """Number of parameters of a generated LoRA, with the shared LoRA; 0 without experts."""
        return self.repository.lora(0).parameters if len(self.repository) else 0

    @property
    def mixes(self) -> bool:
        """Whether a score mixes zero-shot and adapted similarity: with a shared LoRA, photos are indexed for both."""
        return self.backbone.shared is not None

    @property
    def usual_strength(self) -> float:
        return DEFAULT_WEIGHT if self.mixes else 1.0

    def limited(self, request: AdapterRequest) -> AdapterRequest:
        """The request within the limits here: it may be of another backbone, or of more experts."""
        strength = None if request.strength is None else min(request.strength, 1.0 if self.mixes else MAX_STRENGTH)
        known = {name for e in self.repository.experts for name in (e.name, e.description)}
        weights = request.weights if known.issuperset(request.weights) else {}
        return replace(request, k=min(request.k, max(len(self.repository), DEFAULT_K)), strength=strength, weights=weights)

    def check(self, k: int, strength: float | None = None, weights: Iterable[str] = ()) -> None:
        """Raise DescriptionError: when k is above the number of experts (and above the default), the strength is below 0, or
        above 1 (if scores are mixed) or MAX_STRENGTH, or an expert with a weight does not exist."""
        experts, most = len(self.repository), 1.0 if self.mixes else MAX_STRENGTH
        if experts and k > max(experts, DEFAULT_K):
            raise DescriptionError("k is {k:g}: there are {n} experts.", k=k, n=experts)
        if strength is not None and not 0 <= strength <= most:
            raise DescriptionError(
                "The strength is {strength:g}: this backbone takes 0 to {most:g}.", strength=strength, most=most
            )
        for name in weights:
            self.repository.index_of(name)

    def applied(self, lora: Lora, strength: float) -> tuple[Lora, float]:
        """Apply a strength: the LoRA to search with, and the weight w in score = (1 - w) zero-shot + w adapted."""
        return (lora, strength) if self.mixes else (lora.scaled(strength), 1.0)

    @one_core()
    def route(self, description: str, k: int = DEFAULT_K, tau: float = DEFAULT_TAU, weights: Weights | None = None) -> Routing:
        """Route a sentence to its k closest experts, or weight experts by hand. Raises DescriptionError: as ``AdapterRequest``
        and ``check``. RepositoryError: without experts."""
        return self._routed(AdapterRequest(description, k, tau, weights=weights or {}), Stopwatch())

    def _routed(self, request: AdapterRequest, watch: Stopwatch) -> Routing:
        self.check(request.k, request.strength)
        embedding = embed_descriptions(self.backbone, [request.description])[0]
        watch.lap("encode")
        routing = SparseRouter(self.repository.embeddings).route(request.description, embedding, request.k, request.tau)
        by_hand = {self.repository.index_of(name): weight for name, weight in request.weights.items()}
        return routing.weighted(by_hand) if by_hand else routing

    @one_core()
    def adapt(self, request: AdapterRequest, always: bool = False) -> Adaptation:
        """Run the whole algorithm: encode, route, build the prior, sample, decode. ``always``: apply the expert LoRA even if no
        expert fits, as in the paper. Raises as ``route``."""
        watch, repository = Stopwatch(), self.repository
        routing = self._routed(request, watch)
        fits = always or Fit.of(self, routing).fits
        watch.lap("route")
        prior = repository.prior(routing)
        watch.lap("prior")
        merged = Sample(prior.mean[:0], prior.mean)
        sample = merged if self.generator is None else self.generator.sample(prior, request.seed)
        own = repository.generated(routing, sample.theta)
        full = repository.with_shared(own.scaled(float(fits)))  # of the same shape for all sentences
        strength = self.usual_strength if request.strength is None else request.strength
        applied = self.applied(full, strength)
        watch.lap("decode")
        return Adaptation(request, routing, fits, prior, sample.z, own, full, strength, *applied, watch.laps)
