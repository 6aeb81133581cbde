"""The control of the page and of experiments: SG-LoRA for a sentence about no photos."""

from dataclasses import replace

from core.sglora.engine import Adaptation, SGLora
from core.sglora.request import AdapterRequest

RANDOM = ("quarterly financial report", "the sound of a violin", "a mathematical proof", "tax law in the nineteenth century")
MORE = ("the history of banking", "a theory of consciousness", "the price of copper", "an algorithm that sorts numbers")


def random_sentence(engine: SGLora, request: AdapterRequest) -> Adaptation:
    """The same request with a sentence of RANDOM, chosen by the description's length and the seed. The expert LoRA is applied
    even if no expert fits: otherwise the control would be the shared LoRA."""
    return applied(engine, request, RANDOM[(len(request.description) + request.seed) % len(RANDOM)])


def random_sentences(engine: SGLora, request: AdapterRequest) -> list[Adaptation]:
    """The same for each sentence of RANDOM and MORE: one sentence alone may be lucky."""
    return [applied(engine, request, sentence) for sentence in (*RANDOM, *MORE)]


def applied(engine: SGLora, request: AdapterRequest, sentence: str) -> Adaptation:
    request = replace(request, description=sentence, weights={})
    return engine.repository.controls.get(repr(request), lambda: engine.adapt(request, always=True))
