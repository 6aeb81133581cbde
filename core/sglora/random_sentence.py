"""The control for what a sentence adds: the same with one that has nothing to do with the photos."""

from __future__ import annotations

from dataclasses import replace

from core.backbones.lora import Lora
from core.sglora.engine import Adaptation, SGLora
from core.sglora.request import AdapterRequest

# Sentences that describe no photos.
RANDOM = (
    "quarterly financial report",
    "the sound of a violin",
    "a mathematical proof",
    "tax law in the nineteenth century",
)


def drawn_sentence(request: AdapterRequest) -> str:
    """Which one takes the place of the request's: always the same one for the same words and seed."""
    return RANDOM[(len(request.description) + request.seed) % len(RANDOM)]


def random_sentence(engine: SGLora, adaptation: Adaptation) -> Lora:
    """SG-LoRA for the drawn sentence, own part included though no expert fits."""
    other = engine.adapt(replace(adaptation.request, description=drawn_sentence(adaptation.request)))
    return engine.repository.with_shared([other.own], [1.0])
