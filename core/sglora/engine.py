"""SG-LoRA (arXiv 2509.10535), online: from one sentence to a LoRA, with no image and no training.

sentence -> Routing -> SemanticPrior -> z ~ p(z | c) -> theta -> LoRA
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from core.backbones.base import Backbone
from core.backbones.lora import Lora, LoraLayout
from core.backbones.peft_format import save_peft
from core.backbones.spec import portable
from core.backbones.transformers_names import CLASS as CLIP_MODEL
from core.backbones.transformers_names import hub_model, transformers_name
from core.common.runtime import one_core
from core.common.text import clean_text
from core.sglora.adapter_readme import README_FILE, adapter_readme
from core.sglora.confidence import Confidence
from core.sglora.generator import LoraGenerator
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
        vector: [P] theta, as decoded.
        full: the LoRA that it stands for, before ``strength``. lora: the LoRA to search with, ``strength`` applied.
        seed: as asked for. strength: as asked for, or what the confidence allows.
        confidence: how likely it is that adapting helps; None where the repository has no calibration.
        seconds: time of each step ("encode", "route", "prior", "decode").
    """

    routing: Routing
    prior: SemanticPrior
    z: Tensor
    vector: Tensor
    full: Lora
    lora: Lora
    seed: int
    strength: float
    confidence: Confidence | None
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class SGLora:
    """The online phase over one backbone, its experts and its generator; holds no state of any visitor."""

    backbone: Backbone
    repository: ExpertRepository
    generator: LoraGenerator

    @property
    def written(self) -> LoraLayout:
        """The form of a generated LoRA: that of the experts, at the rank that the generator writes."""
        layout, how = self.repository.layout, self.generator.assembly
        return layout if how is None else LoraLayout(layout.modules, how.rank)

    @one_core()
    def route(self, description: str, k: int = DEFAULT_K, tau: float = DEFAULT_TAU) -> Routing:
        """Encode a sentence and route it to its k closest experts.

        Raises:
            DescriptionError: an empty or too long description, k below 1, tau not above 0.
        """
        text = clean_text(description)
        embedding = self.backbone.encode_sentence([text])[0]
        return SparseRouter(self.repository.embeddings).route(text, embedding, k, tau)

    def prior(self, routing: Routing) -> SemanticPrior:
        """The semantic prior of the routed experts."""
        return self.repository.prior(routing)

    def confidence(self, routing: Routing) -> Confidence | None:
        """How likely it is that adapting to this description helps; None where the repository has no calibration."""
        return self.repository.judge(routing)

    def strength(self, routing: Routing, wanted: float | None = None) -> float:
        """The strength that is wanted, or (None) what the confidence allows."""
        confidence = self.confidence(routing)
        allowed = confidence.strength if confidence else DEFAULT_STRENGTH
        return allowed if wanted is None else wanted

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
        embedding = self.backbone.encode_sentence([text])[0]
        clock.lap("encode")
        routing = SparseRouter(self.repository.embeddings).route(text, embedding, k, tau)
        confidence = self.confidence(routing)
        strength = self.strength(routing, strength)
        clock.lap("route")
        prior = self.prior(routing)
        clock.lap("prior")
        vector, z = self.generator.sample(prior, seed)
        full = self.generator.lora(vector, prior, self.merged(routing), self.repository.layout)
        lora = full.scaled(strength)
        clock.lap("decode")
        return Adaptation(routing, prior, z, vector, full, lora, seed, strength, confidence, clock.laps)

    def merged(self, routing: Routing) -> Lora:
        """The paper's control: the routed experts merged with their softmax weights, exactly, in delta-W."""
        return self.repository.merged(routing)

    def provenance(self, adaptation: Adaptation) -> dict[str, Any]:
        """What a downloaded adapter says about where it comes from."""
        routing = adaptation.routing
        choice = portable(self.backbone.choice)
        return {
            "method": "SG-LoRA (arXiv 2509.10535)",
            "description": routing.description,
            "backbone": choice.pop("spec"),
            "backbone_fingerprint": self.backbone.fingerprint,
            **{key: value for key, value in choice.items() if value is not None},
            "seed": adaptation.seed,
            "k": len(routing.chosen),
            "tau": routing.tau,
            "strength": adaptation.strength,
            "confidence": None if adaptation.confidence is None else asdict(adaptation.confidence),
            "experts": self.routed(routing),
        }

    def save(self, adaptation: Adaptation, folder: Path, for_transformers: bool = False) -> None:
        """Write the LoRA in PEFT format, with its provenance, and a README with the lines that load it.

        Args:
            for_transformers: name linears as transformers' ``CLIPModel`` does, for a backbone that is one.

        Raises:
            AdapterError: the backbone is none.
        """
        origin = self.provenance(adaptation)
        choice, fingerprint = portable(self.backbone.choice), self.backbone.fingerprint
        if for_transformers:
            base = hub_model(choice)
            save_peft(adaptation.lora, folder, fingerprint, base, origin, CLIP_MODEL, transformers_name)
        else:
            base, kind = None, type(self.backbone.adapted)
            mapping = {"base_model_class": kind.__name__, "parent_library": kind.__module__}
            save_peft(adaptation.lora, folder, fingerprint, origin["backbone"], origin, mapping)
        readme = adapter_readme(origin, choice, base)
        (folder / README_FILE).write_text(readme, encoding="utf-8")

    def routed(self, routing: Routing) -> list[dict[str, Any]]:
        """The routed experts as plain data, closest first: name, description, similarity, weight."""
        return [
            {
                "name": self.repository.experts[i].name,
                "description": self.repository.experts[i].description,
                "similarity": round(float(routing.similarity[i]), 6),
                "weight": round(float(w), 6),
            }
            for i, w in zip(routing.chosen.tolist(), routing.weights.tolist(), strict=True)
        ]


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now
