"""Names of the 1,000 classes of ImageNet: what an adapter is not to forget."""

from __future__ import annotations

from functools import cache


@cache
def imagenet_class_names() -> tuple[str, ...]:
    """First lemma of each of the 1,000 classes, in the classifier's order."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return tuple(info.index_to_description(i).split(",")[0].strip() for i in range(1000))


def class_name_texts() -> list[str]:
    """One sentence a class."""
    return [f"a photo of a {name}" for name in imagenet_class_names()]
