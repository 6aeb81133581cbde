"""How good is the base by itself? Zero-shot recall on captioned photos that it never saw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.backbones.embedded import EmbeddedBackbone
from core.metrics import measure
from core.training.backbone import evaluation_sets


def run(data: Path, cache: Path, backbone: EmbeddedBackbone, log: Callable[[str], None] = print) -> dict[str, Any]:
    """{"flickr8k val": {"images": n, "i2t": {"R@1": …}, "t2i": {…}}, …} in percent; each set is its own gallery."""
    result = {}
    for name, chosen in evaluation_sets(data, cache, log).items():
        images = backbone.suffix(chosen.maps)
        texts = backbone.text_from_sentences(chosen.sentences)
        result[name] = measure(images, texts, chosen.relevance)
    return result
