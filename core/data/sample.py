"""One photo of a data folder, whatever format it was listed in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One photo of a data folder.

    Attributes:
        path: the image file; not opened yet. captions: possibly none. translations: in other languages, to train with.
        split: "train", "val" or "test" ("" where the folder does not say).
        label: class name ("" for captioned photos). domain, dataset: such as "aerial" ("" for everyday scenes with captions).
        categories: of the objects in the photo (COCO's instances), sorted.
    """

    path: Path
    captions: tuple[str, ...] = ()
    split: str = ""
    label: str = ""
    domain: str = ""
    dataset: str = ""
    categories: tuple[str, ...] = ()
    translations: tuple[str, ...] = ()


def caption_texts(sample: Sample) -> tuple[str, ...]:
    """The captions of a sample; a labelled one has "a photo of a <label>"."""
    return sample.captions or ((f"a photo of a {sample.label}",) if sample.label else ())


def gather(samples: Iterable[Sample]) -> dict[Path, tuple[str, ...]]:
    """Captions by photo, in file order; a photo listed on several lines is one photo with all of their captions."""
    gallery: dict[Path, tuple[str, ...]] = {}
    for sample in samples:
        gallery[sample.path] = gallery.get(sample.path, ()) + caption_texts(sample)
    return gallery
