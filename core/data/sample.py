"""A photo of a data folder, independent of the folder's format."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One photo of a data folder.

    Attributes:
        path: the image file, not opened yet.
        captions: may be empty. translations: captions in other languages, for training.
        split: "train", "val" or "test"; "" if the folder does not say.
        label: class name; "" for captioned photos.
        domain, dataset: such as "aerial"; "" for everyday scenes with captions.
        categories: of the objects in the photo (COCO instances), sorted.
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
    """The captions of a sample. For a labelled sample without captions: "a photo of a <label>"."""
    return sample.captions or ((f"a photo of a {sample.label}",) if sample.label else ())


def gather(samples: Iterable[Sample]) -> dict[Path, tuple[str, ...]]:
    """Captions by photo, in file order. The captions of several samples with one path are joined."""
    gallery: dict[Path, tuple[str, ...]] = {}
    for sample in samples:
        gallery[sample.path] = gallery.get(sample.path, ()) + caption_texts(sample)
    return gallery
