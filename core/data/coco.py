"""COCO's captions JSON with the instances JSON beside it, and Karpathy's split JSON of COCO, Flickr8k and Flickr30k.

https://cocodataset.org/#format-data
https://cs.stanford.edu/people/karpathy/deepimagesent/ (caption_datasets.zip)
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.common.errors import DataError, brief
from core.common.text import one_line
from core.data.find_images import ImageFinder
from core.data.sample import Sample
from core.data.text import read_json

KARPATHY, CAPTIONS = PATTERNS = ("dataset_*.json", "*caption*.json")
SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}  # restval: as in the literature


def read_karpathy(images: ImageFinder) -> list[Sample]:
    """Samples of the split JSON among ``images.lists``; empty if there is none. Raises DataError: when a file is malformed."""
    return [sample for samples in images.lists(KARPATHY, lambda file: _split(file, images)).values() for sample in samples]


def read_coco(images: ImageFinder, categories: bool) -> list[Sample]:
    """Samples of the COCO captions among ``images.lists``; empty if there are none.

    If several files (train and val) have photos there, they are joined. ``categories``: whether to read the instances too.
    Raises DataError: when a file is malformed, or there are files of 2014 and 2017, whose splits share photos.
    """
    found = images.lists(CAPTIONS, lambda file: _captioned(file, images, categories))
    by_year = {year[0]: file.name for file in found if (year := re.search("2014|2017", file.stem))}
    if len(by_year) > 1:
        both = " and ".join(name for _, name in sorted(by_year.items()))
        raise DataError(f"{both} share photos: keep one year, since photos of one's val train in the other.")
    if len(found) == 1:
        return next(iter(found.values()))
    splits = {file: next((split for split in ("train", "val") if split in file.stem.lower()), "") for file in found}
    return [replace(s, split=splits[file]) for file in found for s in found[file]]


def _split(file: Path, images: ImageFinder) -> list[Sample]:
    """Samples of Karpathy's JSON. Empty if the file is another JSON."""
    content = read_json(file)
    listed = content.get("images") if isinstance(content, dict) else None
    if not isinstance(listed, list) or not any(isinstance(i, dict) and "sentences" in i for i in listed):
        return []
    samples = []
    with _form(file, "images with filename, split (train, restval, val, test), sentences with raw text"):
        for image in listed:
            captions = tuple(one_line(s["raw"]) for s in image["sentences"] if s["raw"].strip())
            name = f"{image.get('filepath', '')}/{image['filename']}".removeprefix("/")
            samples.append(Sample(images.find(name), captions, SPLITS[image["split"]]))
    return samples


def _captioned(file: Path, images: ImageFinder, categories: bool) -> list[Sample]:
    """Samples of a COCO captions JSON. Empty if the file is another JSON."""
    content = read_json(file)
    if not isinstance(content, dict) or "images" not in content or "annotations" not in content:
        return []
    captions: dict[Any, list[str]] = defaultdict(list)
    with _form(file, "images with id and file_name, annotations with image_id and caption"):
        for annotation in content["annotations"]:
            caption = annotation.get("caption")
            if isinstance(caption, str) and caption.strip():
                captions[annotation["image_id"]].append(one_line(caption))
        if not captions:
            return []
        shown = _categories(file.with_name(file.name.replace("captions", "instances"))) if categories else {}
        listed = [(images.find(image["file_name"]), image["id"]) for image in content["images"]]
        return [Sample(path, tuple(captions.get(key, ())), categories=shown.get(key, ())) for path, key in listed]


def _categories(file: Path) -> dict[Any, tuple[str, ...]]:
    """Sorted category names by image id. Empty if the file is missing. Raises DataError: when it is not in COCO's format."""
    if not file.is_file():
        return {}

    def slim(item: dict[str, Any]) -> dict[str, Any]:
        # The unused outlines of 860,000 objects would take gigabytes.
        item.pop("segmentation", None)
        return item

    content = read_json(file, slim)
    categories: dict[Any, set[str]] = defaultdict(set)
    with _form(file, "categories with id and name, annotations with image_id and category_id"):
        names = {c["id"]: c["name"] for c in content["categories"]}
        for annotation in content["annotations"]:
            categories[annotation["image_id"]].add(names[annotation["category_id"]])
    return {image: tuple(sorted(present)) for image, present in categories.items()}


@contextmanager
def _form(file: Path, needs: str) -> Iterator[None]:
    """A block that reads the values of a JSON file. Raises DataError: when they are others than it ``needs``."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file.name} needs {needs} ({type(error).__name__}: {brief(str(error))}).") from None
