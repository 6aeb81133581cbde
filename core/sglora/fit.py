"""Does an expert fit a sentence? What can be said before any photo was seen.

No gain is predicted: over left-out topics, predictions and gains had a rank correlation of 0 (docs/design.md, section 6).
"""

from __future__ import annotations

from dataclasses import dataclass

from core.sglora.description import Encoder, Remark, known_languages, language_remark, no_photos_embeddings, no_photos_remark
from core.sglora.repository import CLASS_NAMES, ExpertRepository
from core.sglora.router import Routing


@dataclass(frozen=True)
class Fit:
    """How well the experts fit a description.

    Attributes:
        closeness: cosine similarity of the routed experts, weighted.
        fits: False where it is below the repository's threshold, or where there is a remark; only the shared part is applied
            then.
        forgetting: points of R@1 that class names of everyday photos lose under the routed experts, weighted.
        remark: what is odd about the description: a language that the text tower does not know, or about no photos.
    """

    closeness: float
    fits: bool
    forgetting: float
    remark: Remark | None


def fit(repository: ExpertRepository, encoder: Encoder, routing: Routing) -> Fit:
    """How well the experts fit a routed description."""
    closest_expert = float(routing.similarity.max())
    closest_other = float((no_photos_embeddings(encoder) @ routing.embedding).max())
    remark = language_remark(routing.description, known_languages(encoder)) or no_photos_remark(closest_expert, closest_other)
    threshold = repository.closeness_threshold
    fits = remark is None and (threshold is None or routing.closeness >= threshold)
    forgetting = sum(
        weight * repository.experts[expert].forgetting.get(CLASS_NAMES, 0.0)
        for expert, weight in zip(routing.chosen.tolist(), routing.weights.tolist(), strict=True)
    )
    return Fit(routing.closeness, fits, forgetting, remark)
