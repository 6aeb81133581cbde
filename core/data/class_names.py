"""Names of the 1,000 classes of ImageNet: ordinary words for things that photos show."""

from __future__ import annotations

from functools import cache


@cache
def imagenet_class_names() -> tuple[str, ...]:
    """First lemma of each of the 1,000 classes, in the classifier's order."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return tuple(info.index_to_description(i).split(",")[0].strip() for i in range(1000))
