"""Does an adapter help on a folder of captioned photos? All its photos form the gallery."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.backbones.base import Backbone
from core.common.errors import DataError
from core.common.metrics import Relevance, both_directions
from core.common.progress import Log
from core.data import Sample
from core.data.sample import gather
from core.experiments.controls import METHODS
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import photo_rows, text_rows
from core.retrieval.encoding import read_prefixes
from core.retrieval.popularity import popularity, spread_rows, with_popularity
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

DEFAULT_METHODS = ("zero-shot", "merge", "sg-lora")


def adapters_of(engine: SGLora, request: AdapterRequest, methods: Sequence[str] = DEFAULT_METHODS) -> dict[str, Adapter]:
    """The adapters that methods of ``core.experiments.controls`` make for a request, by method. Raises DataError: when a method
    is unknown; and as ``SGLora.adapt``."""
    unknown = [m for m in methods if m not in METHODS]
    if unknown:
        raise DataError(f"The method {unknown[0]} is unknown; known are {', '.join(METHODS)}.")
    adaptation = engine.adapt(request)
    loras = ((m, METHODS[m](engine, adaptation)) for m in methods)
    return {m: ZERO_SHOT if lora is None else Adapter.of(*engine.applied(lora, adaptation.strength)) for m, lora in loras}


def evaluate(
    backbone: Backbone, samples: Sequence[Sample], adapters: Mapping[str, Adapter], log: Log = print
) -> dict[str, Any]:
    """Recall@1, 5 and 10 in percent under each adapter in both directions, with all photos as one gallery: {"images": readable
    photos, "captions": different captions, "methods": {"zero-shot": {"i2t": {"R@1": …, …}, "t2i": {…}}, …}}.

    Any caption or label of a photo counts as a hit, and equal ones are one text. Photos without any are distractors. Raises
    DataError: when no photo is readable, or no readable photo has a caption.
    """
    gallery = gather(samples)
    kept, prefixes, skipped = read_prefixes(backbone, list(gallery), log)
    for line in skipped:
        log(f"left out: {line}")
    if skipped and not kept:
        raise DataError(f"None of the {len(gallery)} photos can be read ({skipped[0]}).")
    captions = list(gallery.values())
    relevance = Relevance.of([captions[i] for i in kept])
    if not relevance.texts:
        raise DataError(f"None of the {len(kept)} photos has a caption.")
    log(f"{len(kept)} photos, {len(relevance.texts)} different captions")
    text_prefixes, recalls = backbone.text_prefix(relevance.texts), {}
    for name, adapter in adapters.items():
        images, texts = photo_rows(backbone, prefixes, adapter), text_rows(backbone, text_prefixes, adapter)
        popular = popularity(images[spread_rows(len(images))], texts)
        recalls[name] = both_directions(*with_popularity(images, texts, popular), relevance)
        log(f"{name}: done")
    return {"images": len(kept), "captions": len(relevance.texts), "methods": recalls}
