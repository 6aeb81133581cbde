"""The control of the page and of experiments: SG-LoRA for a sentence about no photos."""

from dataclasses import replace

from core.sglora.engine import Adaptation, SGLora, always
from core.sglora.request import AdapterRequest

RANDOM = ("quarterly financial report", "the sound of a violin", "a mathematical proof", "tax law in the nineteenth century")


def random_sentence(engine: SGLora, request: AdapterRequest) -> Adaptation:
    """The same request with a sentence of RANDOM, chosen by the description's length and the seed. The expert LoRA is applied
    even if no expert fits."""
    sentence = RANDOM[(len(request.description) + request.seed) % len(RANDOM)]
    return replace(engine, fits=always).adapt(replace(request, description=sentence))
