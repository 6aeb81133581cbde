"""SG-LoRA (arXiv 2509.10535), online: from one sentence to a LoRA, with no image and no training.

sentence -> Routing -> SemanticPrior -> z ~ p(z | c) -> LoRA
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from core.backbones.base import Backbone
from core.backbones.lora import Lora, LoraLayout
from core.common.runtime import one_core
from core.common.text import clean_text
from core.sglora.confidence import Confidence
from core.sglora.description import Remark, embed_descriptions, language_remark, no_photos_embeddings, no_photos_remark
from core.sglora.generated import Generator
from core.sglora.mixer import MAX_RANK, LoraMixer, Mixture
from core.sglora.prior import SemanticPrior
from core.sglora.repository import ExpertRepository
from core.sglora.router import DEFAULT_K, DEFAULT_TAU, Routing, SparseRouter

# Where nobody calibrated a confidence: all of the generated change, as in the paper.
DEFAULT_STRENGTH = 1.0


@dataclass(frozen=True)
class Adaptation:
    """A generated LoRA and everything that led to it.

    Attributes:
        routing: the routed experts.
        prior: the semantic prior c.
        z: [latent] the sample it was decoded from.
        mixture: what it is put together from; None where a generator decodes the LoRA's own numbers.
        full: the LoRA that it stands for, before ``strength``. lora: the LoRA to search with, ``strength`` applied.
        seed: as asked for. strength: as asked for, or what the confidence allows. own: how much of the experts' own parts is
        in it.
        confidence: how likely it is that adapting helps; None where the repository has no calibration.
        remark: what is odd about the description, if anything.
        seconds: time of each step ("encode", "route", "prior", "decode").
    """

    routing: Routing
    prior: SemanticPrior
    z: Tensor
    mixture: Mixture | None
    full: Lora
    lora: Lora
    seed: int
    strength: float
    own: float
    confidence: Confidence | None
    remark: Remark | None
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class SGLora:
    """The online phase over one backbone, its experts and its generator; holds no state of any visitor."""

    backbone: Backbone
    repository: ExpertRepository
    generator: Generator

    @property
    def written(self) -> LoraLayout:
        """The form of a LoRA that is generated from DEFAULT_K experts."""
        layout, shared = self.repository.layout, self.repository.shared
        routed = min(DEFAULT_K, len(self.repository)) if isinstance(self.generator, LoraMixer) else 1
        return LoraLayout(layout.modules, min(MAX_RANK, layout.rank * routed + (shared.rank if shared else 0)))

    @one_core()
    def route(self, description: str, k: int = DEFAULT_K, tau: float = DEFAULT_TAU) -> Routing:
        """Encode a sentence and route it to its k closest experts.

        Raises:
            DescriptionError: an empty or too long description, k below 1, tau not above 0.
        """
        text = clean_text(description)
        embedding = embed_descriptions(self.backbone, [text])[0]
        return SparseRouter(self.repository.embeddings).route(text, embedding, k, tau)

    def remark(self, routing: Routing) -> Remark | None:
        """What is odd about a routed description, in plain words: another language, or about no photos."""
        closest = float(routing.similarity.max())
        return language_remark(routing.description) or no_photos_remark(
            closest, float((no_photos_embeddings(self.backbone) @ routing.embedding).max())
        )

    def prior(self, routing: Routing) -> SemanticPrior:
        """The semantic prior of the routed experts."""
        return self.repository.prior(routing)

    def confidence(self, routing: Routing) -> Confidence | None:
        """How likely it is that adapting to this description helps; None where the repository has no calibration.

        A sentence with a ``remark`` fits no expert.
        """
        if self.repository.confidence is None:
            return None
        return self.repository.judge(routing, about_photos=self.remark(routing) is None)

    def strength(self, routing: Routing, wanted: float | None = None) -> tuple[float, float]:
        """(strength, own): what is wanted, with the own parts in full, or (None) what the confidence allows."""
        if wanted is not None:
            return wanted, 1.0
        confidence = self.confidence(routing)
        return (confidence.strength, confidence.own) if confidence else (DEFAULT_STRENGTH, 1.0)

    @one_core()
    def adapt(
        self,
        description: str,
        k: int = DEFAULT_K,
        tau: float = DEFAULT_TAU,
        seed: int = 0,
        strength: float | None = None,
    ) -> Adaptation:
        """The whole algorithm: route, build the prior, sample, decode.

        Args:
            strength: how much of the generated change to apply, 0 (zero-shot) to 1 (as generated) or beyond. None follows the
                confidence.

        Raises:
            DescriptionError: as ``route``.
        """
        clock = _Clock()
        text = clean_text(description)
        embedding = embed_descriptions(self.backbone, [text])[0]
        clock.lap("encode")
        routing = SparseRouter(self.repository.embeddings).route(text, embedding, k, tau)
        confidence = self.confidence(routing)
        strength, own = self.strength(routing, strength)
        clock.lap("route")
        prior = self.prior(routing)
        clock.lap("prior")
        made = self.generator.write(self.repository, routing, prior, seed, own)
        lora = made.lora.scaled(strength)
        clock.lap("decode")
        remark = self.remark(routing)
        numbers = (made.z, made.mixture, made.lora, lora, seed, strength, own)
        return Adaptation(routing, prior, *numbers, confidence, remark, clock.laps)

    def merged(self, routing: Routing) -> Lora:
        """The paper's control: the routed experts merged with their softmax weights, exactly, in delta-W."""
        return self.repository.merged(routing)


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now
