"""SG-LoRA (arXiv 2509.10535), online: from one sentence to a LoRA, with no image and no training.

sentence -> Routing -> SemanticPrior -> z ~ p(z | c) -> LoRA
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from core.backbones.base import Backbone
from core.backbones.lora import Lora, LoraLayout
from core.common.runtime import one_core
from core.common.stopwatch import Stopwatch
from core.common.text import clean_text
from core.sglora.description import embed_descriptions
from core.sglora.fit import Fit, fit
from core.sglora.generator import LoraGenerator
from core.sglora.prior import SemanticPrior
from core.sglora.repository import ExpertRepository
from core.sglora.request import AdapterRequest
from core.sglora.router import DEFAULT_K, DEFAULT_TAU, Routing, SparseRouter


@dataclass(frozen=True)
class Adaptation:
    """A generated LoRA and everything that led to it.

    Attributes:
        request: what was asked for. routing: the routed experts. fit: how well they fit.
        prior: the semantic prior c. z: [latent] the sample.
        full: the generated LoRA. lora: the LoRA to search with, the request's strength applied.
        seconds: time of each step ("encode", "route", "prior", "decode").
    """

    request: AdapterRequest
    routing: Routing
    fit: Fit
    prior: SemanticPrior
    z: Tensor
    full: Lora
    lora: Lora
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class SGLora:
    """The online phase over one backbone, its experts and its generator; holds no state of any visitor."""

    backbone: Backbone
    repository: ExpertRepository
    generator: LoraGenerator

    @property
    def layout(self) -> LoraLayout:
        """The form of a generated LoRA: the shared part and one own part, side by side."""
        own, shared = self.repository.layout, self.repository.shared
        return LoraLayout(own.modules, own.rank + (shared.rank if shared else 0))

    @one_core()
    def route(self, description: str, k: int = DEFAULT_K, tau: float = DEFAULT_TAU) -> Routing:
        """Encode a sentence and route it to its k closest experts.

        Raises:
            DescriptionError: an empty or too long description, k below 1, tau not above 0.
        """
        text = clean_text(description)
        return SparseRouter(self.repository.embeddings).route(text, self._encoded(text), k, tau)

    def fit(self, routing: Routing) -> Fit:
        """How well the experts fit a routed description."""
        return fit(self.repository, self.backbone, routing)

    @one_core()
    def adapt(self, request: AdapterRequest) -> Adaptation:
        """The whole algorithm: route, build the prior, sample, decode.

        Raises:
            DescriptionError: as ``route``.
        """
        watch = Stopwatch()
        text = clean_text(request.description)
        embedding = self._encoded(text)
        watch.lap("encode")
        routing = SparseRouter(self.repository.embeddings).route(text, embedding, request.k, request.tau)
        fit = self.fit(routing)
        watch.lap("route")
        prior = self.repository.prior(routing)
        watch.lap("prior")
        z = self.generator.draw(prior, request.seed)
        full = self.generated(prior, z, fit)
        lora = full.scaled(request.strength)
        watch.lap("decode")
        return Adaptation(request, routing, fit, prior, z, full, lora, watch.laps)

    def generated(self, prior: SemanticPrior, z: Tensor, fit: Fit) -> Lora:
        """The LoRA of a sample z [latent]: what all experts share, plus the decoded own part where an expert fits."""
        own = Lora.from_vector(self.repository.layout, self.generator.decode(z, prior))
        return self.repository.with_shared([own], [1.0 if fit.fits or self.repository.shared is None else 0.0])

    def merged(self, routing: Routing) -> Lora:
        """The paper's control: the routed experts merged with their softmax weights, exactly, in delta-W."""
        return self.repository.merged(routing)

    def _encoded(self, text: str) -> Tensor:
        """The sentence's embedding [s]."""
        return embed_descriptions(self.backbone, [text])[0]
