"""An image folder with class names: ``root/dog/1.jpg``, or ``root/train/dog/1.jpg`` and ``root/val/dog/1.jpg``."""

from __future__ import annotations

import re
from pathlib import Path

from core.common.errors import DataError
from core.data.find_images import photos_in
from core.data.sample import Sample

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

# Folders of unsorted photos, not of one class: train2017, Flicker8k_Dataset, flickr30k_images and the like.
_NO_CLASS = re.compile(r"\..*|(train|val|test)\d{4}|.*(images?|photos?|pictures?|thumbnails?|dataset)")


def class_folders(folder: Path) -> list[Path]:
    """The direct subfolders that hold images at any depth, and whose names may be class names."""
    below = sorted(f for f in folder.iterdir() if f.is_dir() and not _NO_CLASS.fullmatch(f.name.lower()))
    return [f for f in below if any(photos_in(f))]


def read_classes(folder: Path) -> list[Sample]:
    """Samples of an image folder with at least two classes, labelled with their subfolder's name. Else empty. The folder's name
    is the domain and the dataset. Raises DataError: when splits and other folders are mixed."""
    folders = class_folders(folder)
    splits = [f for f in folders if f.name.lower() in SPLITS]
    if splits and len(splits) < len(folders):
        odd = next(f for f in folders if f not in splits)
        raise DataError("CORE_SPLITS_OR_CLASSES", folder=folder, split=splits[0].name, other=odd.name)
    roots = [(SPLITS[s.name.lower()], s) for s in splits] or [("", folder)]
    classes = [(split, class_folder) for split, root in roots for class_folder in class_folders(root)]
    if len({c.name for _, c in classes}) < 2:
        return []
    name = folder.resolve().name.replace("_", " ")
    return [
        Sample(photo, split=split, label=class_folder.name.replace("_", " "), domain=name, dataset=name)
        for split, class_folder in classes
        for photo in photos_in(class_folder)
    ]
