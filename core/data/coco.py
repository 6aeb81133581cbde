"""COCO: captions JSON, and the instances JSON beside it with the categories of the objects in each photo.

https://cocodataset.org/#format-data
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from core.common.errors import DataError, brief
from core.common.text import one_line
from core.data.find_images import ImageFinder
from core.data.sample import Sample
from core.data.text import read_json

PATTERN = "*caption*.json"


def read_coco(images: ImageFinder, categories: bool) -> list[Sample]:
    """Samples of the COCO captions among ``images.lists``; empty if there are none.

    If several files (train and val) have photos there, they are joined. ``categories``: whether to read the instances too.
    Raises DataError: when a file is malformed, or there are files of 2014 and 2017, whose splits share photos.
    """
    found = images.lists(PATTERN, lambda file: _samples(file, images))
    _check_years([*found])
    for file in found if categories else ():
        found[file] = _samples(file, images, read_categories(file.with_name(file.name.replace("captions", "instances"))))
    if len(found) == 1:
        return next(iter(found.values()))
    return [replace(s, split=_split_of(file)) for file in found for s in found[file]]


def read_categories(file: Path) -> dict[Any, tuple[str, ...]]:
    """Sorted category names by image id. Empty if the file is missing. Raises DataError: when it is not in COCO's format."""
    if not file.is_file():
        return {}

    def slim(item: dict[str, Any]) -> dict[str, Any]:
        # The unused outlines of 860,000 objects would take gigabytes.
        item.pop("segmentation", None)
        return item

    content = read_json(file, slim)
    try:
        names = {c["id"]: c["name"] for c in content["categories"]}
        categories: dict[Any, set[str]] = defaultdict(set)
        for annotation in content["annotations"]:
            categories[annotation["image_id"]].add(names[annotation["category_id"]])
        return {image: tuple(sorted(present)) for image, present in categories.items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError("CORE_COCO_INSTANCES", file=file.name, kind=type(error).__name__, error=brief(str(error))) from None


def _samples(file: Path, images: ImageFinder, categories: Mapping[Any, tuple[str, ...]] = MappingProxyType({})) -> list[Sample]:
    """Samples of a COCO captions JSON. Empty if the file is another JSON."""
    content = read_json(file)
    if not isinstance(content, dict) or "images" not in content or "annotations" not in content:
        return []
    captions: dict[Any, list[str]] = defaultdict(list)
    try:
        for annotation in content["annotations"]:
            caption = annotation.get("caption")
            if isinstance(caption, str) and caption.strip():
                captions[annotation["image_id"]].append(one_line(caption))
        if not captions:
            return []
        listed = [(images.find(image["file_name"]), image["id"]) for image in content["images"]]
        return [Sample(path, tuple(captions.get(key, ())), categories=categories.get(key, ())) for path, key in listed]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError("CORE_COCO", file=file.name, kind=type(error).__name__, error=brief(str(error))) from None


def _split_of(file: Path) -> str:
    return next((split for split in ("train", "val") if split in file.stem.lower()), "")


def _check_years(files: Sequence[Path]) -> None:
    by_year = {year[0]: f.name for f in files if (year := re.search("2014|2017", f.stem))}
    if len(by_year) > 1:
        raise DataError("CORE_COCO_YEARS", files=" and ".join(by_year[year] for year in sorted(by_year)))
