"""Read a data folder of any known format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.common.digest import digest
from core.common.errors import DataError
from core.common.files import no_folder
from core.data.captions import read_captions as captions_of_file
from core.data.classes import read_classes
from core.data.coco import PATTERN as CAPTIONS_JSON
from core.data.coco import read_coco
from core.data.find_images import ImageFinder, photos_in
from core.data.jsonl import CAPTIONS_FILE, LABELS_FILE, read_captions, read_labels
from core.data.karpathy import PATTERN, read_karpathy
from core.data.sample import Sample, gather

TABLES = ("captions.txt", "Flickr8k.token.txt")  # Flickr8k's captions as on Kaggle, and as first published


def check_folder(folder: Path) -> None:
    """Raise DataError unless it is a folder."""
    if not folder.is_dir():
        raise DataError(no_folder(folder))


def read_folder(folder: Path, categories: bool = False) -> list[Sample]:
    """All samples of a data folder, in file order.

    Reads the first format that exists: ``captions.jsonl``; ``labels.jsonl``; Karpathy's split JSON; COCO captions JSON; TABLES;
    folders of images named after their class. JSON and tables may also be beside the folder, so that ``folder`` may be the
    image folder itself, or in ``annotations`` of both places.

    ``categories``: whether to read COCO's instances too, which is slow. Raises DataError: when the folder is missing, no format
    is known, the choice is ambiguous, or a line is malformed (the message has its number).
    """
    check_folder(folder)
    if (folder / CAPTIONS_FILE).is_file():
        return read_captions(folder)
    if (folder / LABELS_FILE).is_file():
        return read_labels(folder)
    images = ImageFinder(folder)
    samples = read_karpathy(images, categories) or read_coco(images, categories) or _tables(images)
    if samples := samples or read_classes(folder):
        return samples
    raise DataError("CORE_NO_FORMAT", folder=folder)


def _tables(images: ImageFinder) -> list[Sample]:
    def samples(file: Path) -> list[Sample]:
        captions = captions_of_file(file.name, file.read_bytes())
        return [Sample(images.find(name), texts) for name, texts in captions.items()]

    return next((found for table in TABLES for found in images.lists(table, samples).values()), [])


def folder_captions(folder: Path) -> dict[Path, tuple[str, ...]]:
    """Captions by photo, from a list file in the folder. Empty without such a file, or if it has the general name of one of
    TABLES. Raises as ``read_folder``."""
    known = folder.is_dir() and any(file.name not in TABLES for file in _lists(folder))
    return gather(read_folder(folder)) if known else {}


def data_folders(data: Path) -> list[Path]:
    """The data folders for ``--data``: the folder itself if it is one, else all folders in it."""
    if any(_lists(data)):
        return [data]
    folders = sorted(f for f in data.iterdir() if f.is_dir() and not f.name.startswith("."))
    if not any(any(_lists(f)) for f in folders) and read_classes(data):
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
    json = (PATTERN, CAPTIONS_JSON)
    for name in (CAPTIONS_FILE, LABELS_FILE, *json, *(f"annotations/{pattern}" for pattern in json), *TABLES):
        yield from folder.glob(name)
