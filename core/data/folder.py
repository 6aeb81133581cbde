"""Read a data folder of any known format."""

import re
from collections.abc import Iterator
from pathlib import Path

from core.common.digest import digest
from core.common.errors import DataError
from core.common.files import no_folder
from core.data.captions import read_captions
from core.data.coco import PATTERNS, read_coco, read_karpathy
from core.data.find_images import ImageFinder, photos_in
from core.data.jsonl import CAPTIONS_FILE, LABELS_FILE, read_file
from core.data.sample import Sample

TABLES = ("captions.txt", "Flickr8k.token.txt")  # Flickr8k's captions as on Kaggle, and as first published
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

# Folders of unsorted photos, not of one class: train2017, Flicker8k_Dataset, flickr30k_images and the like.
_NO_CLASS = re.compile(r"\..*|(train|val|test)\d{4}|.*(images?|photos?|pictures?|thumbnails?|dataset)")


def check_folder(folder: Path) -> None:
    """Raise DataError unless it is a folder."""
    if not folder.is_dir():
        raise DataError(no_folder(folder))


def read_folder(folder: Path, categories: bool = False) -> list[Sample]:
    """All samples of a data folder, in file order.

    Reads the first format that exists: ``captions.jsonl``; ``labels.jsonl``; Karpathy's split JSON; COCO captions JSON; TABLES;
    folders of images named after their class. JSON and tables may also be in ``annotations``.

    ``categories``: whether to read COCO's instances too, which is slow. Raises DataError: when the folder is missing, no format
    is known, the choice is ambiguous, or a line is malformed (the message has its number).
    """
    check_folder(folder)
    for file in (folder / CAPTIONS_FILE, folder / LABELS_FILE):
        if file.is_file():
            return read_file(file)
    images = ImageFinder(folder)
    if samples := read_karpathy(images) or read_coco(images, categories) or _tables(images) or _classes(folder):
        return samples
    raise DataError(f"{folder} needs captions.jsonl, labels.jsonl, COCO's or Karpathy's JSON, or folders named after classes.")


def _tables(images: ImageFinder) -> list[Sample]:
    def samples(file: Path) -> list[Sample]:
        captions = read_captions(file.name, file.read_bytes())
        return [Sample(images.find(name), texts) for name, texts in captions.items()]

    return next((found for table in TABLES for found in images.lists(table, samples).values()), [])


def _class_folders(folder: Path) -> list[Path]:
    """The direct subfolders that hold images at any depth, and whose names may be class names."""
    below = sorted(f for f in folder.iterdir() if f.is_dir() and not _NO_CLASS.fullmatch(f.name.lower()))
    return [f for f in below if any(photos_in(f))]


def _classes(folder: Path) -> list[Sample]:
    """Samples of an image folder with at least two classes, labelled with their subfolder's name. Else empty. The folder's name
    is the domain and the dataset. Raises DataError: when splits and other folders are mixed."""
    folders = _class_folders(folder)
    splits = [f for f in folders if f.name.lower() in SPLITS]
    if splits and len(splits) < len(folders):
        odd = next(f for f in folders if f not in splits)
        raise DataError(f"{folder} holds {splits[0].name} and {odd.name}: name all folders after splits or after classes.")
    roots = [(SPLITS[s.name.lower()], s) for s in splits] or [("", folder)]
    classes = [(split, class_folder) for split, root in roots for class_folder in _class_folders(root)]
    if len({c.name for _, c in classes}) < 2:
        return []
    name = folder.resolve().name.replace("_", " ")
    return [
        Sample(photo, split=split, label=class_folder.name.replace("_", " "), domain=name, dataset=name)
        for split, class_folder in classes
        for photo in photos_in(class_folder)
    ]


def is_captioned(folder: Path) -> bool:
    """Whether the folder has a list of captions. TABLES do not count: a file of such a general name may be anything."""
    return any(file.name not in TABLES for file in _lists(folder))


def data_folders(data: Path) -> list[Path]:
    """The data folders for ``--data``: the folder itself if it is one, else all folders in it."""
    if any(_lists(data)):
        return [data]
    folders = sorted(f for f in data.iterdir() if f.is_dir() and not f.name.startswith("."))
    if not any(any(_lists(f)) for f in folders) and _classes(data):
        return [data]
    return folders


def contents(data: Path) -> str:
    """A checksum of ``data``: names and sizes of all photos and lists of photos."""
    files = []
    for folder in data_folders(data):
        files += [f"{folder.name}/{f.relative_to(folder)} {f.stat().st_size}" for f in (*_lists(folder), *photos_in(folder))]
    return digest("\n".join(sorted(files)))


def _lists(folder: Path) -> Iterator[Path]:
    """Files of the folder whose name is that of a list of photos."""
    for name in (CAPTIONS_FILE, LABELS_FILE, *PATTERNS, *(f"annotations/{pattern}" for pattern in PATTERNS), *TABLES):
        yield from folder.glob(name)
