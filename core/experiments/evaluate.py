"""Does an adapter help on a folder of captioned photos? The whole folder is the gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from core.backbones.base import Backbone
from core.common.errors import DataError, PhotoError
from core.common.metrics import Relevance, both_directions
from core.common.progress import Bar, Log
from core.data import Sample
from core.data.image_io import open_photo
from core.data.read_ahead import read_ahead
from core.data.sample import gather
from core.experiments.controls import METHODS
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import photo_rows, text_rows
from core.retrieval.popularity import popularity, spread_places, with_popularity
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

DEFAULT_METHODS = ("zero-shot", "merge", "sg-lora")


@dataclass(frozen=True)
class Evaluation:
    """What was measured on a folder."""

    images: int  # that could be read
    captions: int  # different ones
    # Recalls in percent, {"zero-shot": {"i2t": {"R@1": …, "R@5": …, "R@10": …}, "t2i": {…}}, …}.
    methods: Mapping[str, Mapping[str, Mapping[str, float]]]
    skipped: tuple[str, ...] = ()  # a message for each photo that was left out


def read_prefixes(backbone: Backbone, paths: Sequence[Path], log: Log) -> tuple[list[int], Tensor, list[str]]:
    """The indexes of the photos that can be read, their prefix activations [n, *prefix_shape] float16, and a line for each
    other photo."""

    def pixels(index: int) -> Tensor | str:
        try:
            return backbone.pixels(open_photo(paths[index]))
        except PhotoError as error:
            return str(error)

    kept: list[int] = []
    skipped: list[str] = []
    parts = [torch.empty(0, *backbone.prefix_shape, dtype=torch.float16)]
    with Bar("reading", len(paths), log) as bar:
        for batch in read_ahead(range(len(paths)), pixels):
            good = {index: value for index, value in batch if isinstance(value, Tensor)}
            skipped += [value for _, value in batch if isinstance(value, str)]
            kept += good
            if good:
                parts.append(backbone.prefix(torch.stack(list(good.values()))))
            bar.to(batch[-1][0] + 1)
    return kept, torch.cat(parts), skipped


def evaluate(
    engine: SGLora,
    samples: Sequence[Sample],
    request: AdapterRequest,
    methods: Sequence[str] = DEFAULT_METHODS,
    log: Log = print,
    adapters: Mapping[str, Adapter] = MappingProxyType({}),
) -> Evaluation:
    """Recall@1, 5 and 10 of each method in both directions, with all photos as one gallery.

    Any of a photo's captions counts as a hit, and equal captions are one text. Raises DataError: an unknown method, no photo
    that can be read, or no caption among those that can; and as ``SGLora.adapt``.

    Args:
        samples: photos with captions or labels; those without any stay in the gallery as distractors.
        request: what the adapters are made from; its strength scales all of them alike.
        methods: names from ``core.experiments.controls.METHODS``. adapters: that are measured as they are, by name.
    """
    unknown = [m for m in methods if m not in METHODS]
    if unknown:
        raise DataError(f"The method {unknown[0]} is unknown; known are {', '.join(METHODS)}.")
    # First of all, since it is quick: a description that cannot be used should not cost minutes of reading photos.
    adaptation = engine.adapt(request)
    generated = {name: METHODS[name](engine, adaptation) for name in methods}
    strength = adaptation.strength
    measured = {
        name: ZERO_SHOT if lora is None else Adapter.of(*engine.applied(lora, strength)) for name, lora in generated.items()
    }
    gallery = gather(samples)
    kept, prefixes, skipped = read_prefixes(engine.backbone, list(gallery), log)
    for line in skipped:
        log(f"left out: {line}")
    if not kept:
        raise DataError(f"None of the {len(gallery)} photos can be read" + (f" ({skipped[0]})" if skipped else "") + ".")
    captions = list(gallery.values())
    relevance = Relevance.of([captions[i] for i in kept])
    if not relevance.texts:
        raise DataError(f"None of the {len(kept)} photos has a caption.")
    log(f"{len(kept)} photos, {len(relevance.texts)} different captions")
    backbone, found = engine.backbone, {}
    read = backbone.text_prefix(relevance.texts)
    for name, adapter in (measured | dict(adapters)).items():
        images, texts = photo_rows(backbone, prefixes, adapter), text_rows(backbone, read, adapter)
        popular = popularity(images[spread_places(len(images))], texts)
        found[name] = both_directions(*with_popularity(images, texts, popular), relevance)
        log(f"{name}: done")
    return Evaluation(len(kept), len(relevance.texts), found, tuple(skipped))
