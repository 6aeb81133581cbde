"""Karpathy's split JSON: ``dataset_coco.json``, ``dataset_flickr8k.json``, ``dataset_flickr30k.json``.

https://cs.stanford.edu/people/karpathy/deepimagesent/ (caption_datasets.zip)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.common.errors import DataError, brief
from core.common.text import one_line
from core.data.coco import read_categories
from core.data.find_images import ImageFinder
from core.data.sample import Sample
from core.data.text import read_json

PATTERN = "dataset_*.json"
SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}


def read_karpathy(images: ImageFinder, categories: bool) -> list[Sample]:
    """Samples of the split JSON among ``images.lists``; empty if there is none.

    The ZIP holds the JSON of three data sets: the one whose photos exist is used. ``restval`` counts as train, as in the
    literature. ``categories``: whether to read COCO's 2014 instances from the same places. Raises DataError: when a file is
    malformed, or photos of more than one data set exist.
    """
    found = images.lists(PATTERN, lambda file: _samples(file, images, categories))
    if len(found) > 1:
        raise DataError("CORE_TWO_SETS", folder=images.folder, files=" and ".join(file.name for file in found))
    return next(iter(found.values()), [])


def _samples(file: Path, images: ImageFinder, categories: bool) -> list[Sample]:
    """Samples of one file. Empty if it is another JSON."""
    content = read_json(file)
    listed = content.get("images") if isinstance(content, dict) else None
    if not isinstance(listed, list) or not any(isinstance(i, dict) and "sentences" in i for i in listed):
        return []
    samples = []
    seen: dict[str, Mapping[Any, tuple[str, ...]]] = {"": {}}  # by part (train2014, val2014): category names by image id
    for number, image in enumerate(listed, 1):
        try:
            part, split = str(image.get("filepath", "")), SPLITS[image["split"]]
            captions = tuple(one_line(s["raw"]) for s in image["sentences"] if s["raw"].strip())
            name = f"{part}/{image['filename']}" if part else image["filename"]
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(
                "CORE_KARPATHY", file=file.name, n=number, kind=type(error).__name__, error=brief(str(error))
            ) from None
        if categories and part not in seen:
            instances = f"instances_{part}.json"
            seen[part] = read_categories(file.with_name(instances)) or read_categories(file.parent / "annotations" / instances)
        labels = seen.get(part, {}).get(image.get("cocoid"), ())
        samples.append(Sample(images.find(name), captions, split, categories=labels))
    return samples
