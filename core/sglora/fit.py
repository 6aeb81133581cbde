"""Decide whether experts fit a sentence, before any photo is seen.

The app predicts no gain: over left-out topics, predictions did not correlate with gains (docs/design.md, section 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from core.backbones.base import Towers
from core.backbones.description import embed_descriptions
from core.common.languages import language_remark
from core.common.messages import Message, message
from core.common.paths import data_of
from core.sglora.repository import CLASS_NAMES
from core.sglora.router import Routing

if TYPE_CHECKING:
    from core.sglora.engine import SGLora

# Sentences that are not about photos. A sentence closer to one of them than to any expert is not about photos either.
NO_PHOTOS: list[str] = data_of(__file__)
_embedded: dict[str, Tensor] = {}  # embeddings of NO_PHOTOS by ``sentence_key``; they take longer than the rest of a routing


@dataclass(frozen=True)
class Fit:
    """How well the experts fit a description."""

    closeness: float  # weighted cosine similarity of the routed experts
    # False if closeness is below the repository's threshold, or there is a remark: then only the shared LoRA is applied. Always
    # True without a shared LoRA, and for weights by hand: somebody wants these experts.
    fits: bool
    forgetting: float  # points of R@1 that class names of everyday photos lose under the routed experts, weighted mean
    remark: Message | None  # the text tower does not know the language, or the sentence is not about photos

    @staticmethod
    def of(engine: SGLora, routing: Routing) -> Fit:
        repository, remark = engine.repository, remark_on(engine.backbone, routing)
        threshold = repository.closeness_threshold
        close = threshold is None or routing.closeness >= threshold
        fits = repository.shared is None or routing.by_hand or (remark is None and close)
        forgetting = sum(
            weight * repository.experts[expert].forgetting.get(CLASS_NAMES, 0.0)
            for expert, weight in zip(routing.chosen.tolist(), routing.weights.tolist(), strict=True)
        )
        return Fit(routing.closeness, fits, forgetting, remark)


def remark_on(towers: Towers, routing: Routing) -> Message | None:
    """A remark if the text tower does not know the sentence's language, or the sentence is not about photos."""
    if towers.sentence_key not in _embedded:
        _embedded[towers.sentence_key] = embed_descriptions(towers, NO_PHOTOS)
    closest_other = float((_embedded[towers.sentence_key] @ routing.embedding).max())
    remark = language_remark(routing.description, towers.languages)
    if remark is None and closest_other > float(routing.similarity.max()):
        return message("The sentence seems to be about documents or ideas rather than photos: say what the photos show.")
    return remark
