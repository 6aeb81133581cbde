"""Flickr8k and Flickr30k: token files with split lists, and the CSV files in which both are also distributed.

Flickr8k: ``Flickr8k.token.txt``, ``Flickr_8k.trainImages.txt`` (dev, test). Flickr30k: ``results_20130124.token``, or
``results.csv`` with columns separated by ``|``; split lists ``train.txt`` (val, test) of Flickr30k Entities.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from core.common.errors import DataError
from core.common.text import one_line
from core.data.captions import read_captions
from core.data.find_images import ImageFinder, is_image, is_there
from core.data.sample import Sample
from core.data.text import lines, read_text

# Without Flickr8k.lemma.token.txt: it holds the same captions as lemmas.
TOKENS = ("Flickr8k.token.txt", "results_20130124.token", "results.csv", "captions.txt", "captions.csv")
PLACES = ("", "annotations/", "*_text/")
SPLITS = {"trainImages": "train", "devImages": "val", "testImages": "test", "train": "train", "val": "val", "test": "test"}
_LIST = re.compile(rf"(?:Flickr_?(?:8|30)k\.)?({'|'.join(SPLITS)})\.txt", re.IGNORECASE)
_TOKEN = re.compile(r"(.+)#\d+\t(.*)")
_ROW = re.compile(r"([^|]+)\|\s*\d+\s*(?:\||\s)(.*)")  # one line of Flickr30k's results.csv lacks its second bar


def read_tokens(folder: Path, beside: Path, images: ImageFinder) -> list[Sample]:
    """Samples of the token file in one of the folder's PLACES, else in one of ``beside``'s. Empty if there is none.

    If split lists are beside the token file, photos in none of them (91 of Flickr8k) are left out, as in the literature.
    Raises DataError: when a line is malformed, there are several token files, or split lists overlap.
    """
    samples = _samples(folder, images)
    if not samples:
        with suppress(DataError):  # files beside the folder may be unrelated
            samples = _samples(beside, images)
            samples = samples if any(is_there(s.path) for s in samples) else []
    return samples


def _samples(place: Path, images: ImageFinder) -> list[Sample]:
    files = [f for name in TOKENS for sub in PLACES for f in sorted(place.glob(f"{sub}{name}")) if f.is_file()]
    if len(files) > 1:
        raise DataError(f"{place} holds {' and '.join(str(f.relative_to(place)) for f in files)}: keep one of them.")
    if not files:
        return []
    captions, splits = _captions(files[0]), _splits(files[0].parent)
    kept = [name for name in captions if not splits or Path(name).stem in splits]
    return [Sample(images.find(name), tuple(captions[name]), splits.get(Path(name).stem, "")) for name in kept]


def _captions(file: Path) -> dict[str, list[str]]:
    if file.name.startswith("captions"):
        return {name: list(texts) for name, texts in read_captions(file.name, file.read_bytes()).items()}
    captions: dict[str, list[str]] = {}
    bars = file.suffix == ".csv"
    for number, line in lines(read_text(file)):
        if bars and number == 1 and line.startswith("image_name"):
            continue
        match = (_ROW if bars else _TOKEN).fullmatch(line)
        if match is None:
            expected = "“1.jpg| 0| A dog runs.”" if bars else "“1.jpg#0”, a tab and a caption"
            raise DataError(f"{file.name}, line {number}: {expected} is expected.")
        name, caption = match[1].strip(), one_line(match[2])
        if not name or not caption:
            raise DataError(f"{file.name}, line {number}: an image name and a caption are expected.")
        captions.setdefault(name, []).append(caption)
    return captions


def _splits(place: Path) -> dict[str, str]:
    """Split by image name without its extension. Empty without split lists."""
    splits: dict[str, str] = {}
    for file in sorted(place.glob("*.txt")):
        match = _LIST.fullmatch(file.name)
        if match is None:
            continue
        kind = next(split for word, split in SPLITS.items() if word.casefold() == match[1].casefold())
        for number, line in lines(read_text(file)):
            name = line.strip()
            stem = Path(name).stem if is_image(Path(name)) else name
            if splits.setdefault(stem, kind) != kind:
                raise DataError(f"{file.name}, line {number}: {name} is also in the list of {splits[stem]}.")
    return splits
