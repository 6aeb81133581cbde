"""Data folders: photos with captions or labels, read by path and never copied.

Two formats (DESIGN 4): ``captions.jsonl`` / ``labels.jsonl`` with one JSON object a line, and the standard COCO
captions JSON beside an image folder.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from core.errors import DataError


@dataclass(frozen=True)
class Sample:
    """One photo of a data folder.

    Attributes:
        path: the image file.
        captions: human captions, possibly none.
        split: "train" or "val" ("" where the folder does not say).
        label / domain / dataset: class name, domain and set of a labelled photo ("" for captioned ones).
    """

    path: Path
    captions: tuple[str, ...] = ()
    split: str = ""
    label: str = ""
    domain: str = ""
    dataset: str = ""


def read_folder(folder: Path) -> list[Sample]:
    """All samples of one data folder, in file order.

    COCO captions are looked for in the folder, its ``annotations`` folder, and then in the same two places beside it (so
    that the image folder itself may be given).

    Raises:
        DataError: no such folder, no captions or labels file in it, or a malformed line (named by number).
    """
    if not folder.is_dir():
        raise DataError(f"The data folder {folder} does not exist.")
    captions, labels = folder / "captions.jsonl", folder / "labels.jsonl"
    if captions.is_file():
        return [_captioned(row, folder, captions) for row in _json_lines(captions)]
    if labels.is_file():
        return [_labelled(row, folder, labels) for row in _json_lines(labels)]
    samples = _coco_folder(folder)
    if samples:
        return samples
    raise DataError(
        f"{folder} holds no captions.jsonl, no labels.jsonl and no COCO captions JSON: one of them is needed beside the images."
    )


def _json_lines(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path.name} is not UTF-8 text.") from None
    # Not splitlines(): a caption may hold U+2028 and other separators that JSON leaves as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path.name}, line {number}: not valid JSON ({error.msg}).") from None
        except (ValueError, RecursionError):
            raise DataError(f"{path.name}, line {number}: JSON with numbers or nesting beyond all use.") from None
        if not isinstance(row, dict) or not isinstance(row.get("image"), str):
            raise DataError(f'{path.name}, line {number}: an object with an "image" is expected.')
        yield number, row


def _captioned(numbered: tuple[int, dict[str, Any]], folder: Path, file: Path) -> Sample:
    number, row = numbered
    captions = row.get("captions", row.get("caption"))
    captions = [captions] if isinstance(captions, str) else captions
    if not isinstance(captions, list) or not all(isinstance(c, str) for c in captions):
        raise DataError(f'{file.name}, line {number}: "captions" must be a list of texts.')
    kept = tuple(" ".join(c.split()) for c in captions if c.strip())
    return Sample(folder / row["image"], kept, str(row.get("split", "")))


def _labelled(numbered: tuple[int, dict[str, Any]], folder: Path, file: Path) -> Sample:
    number, row = numbered
    if not isinstance(row.get("label"), str):
        raise DataError(f'{file.name}, line {number}: a "label" text is expected.')
    return Sample(
        folder / row["image"],
        split=str(row.get("split", "")),
        label=row["label"],
        domain=str(row.get("domain", "")),
        dataset=str(row.get("set", "")),
    )


def _coco_folder(folder: Path) -> list[Sample]:
    """Samples of the COCO captions of a folder; several files that each have photos there (train and val) are joined."""
    files = _Files(folder)
    absent: list[Sample] = []
    # Beside the folder as it was given: one that is a link has its captions beside the link. absolute() is for ".".
    for place in (folder, Path(os.path.normpath(folder.absolute())).parent):
        found = sorted([*place.glob("*.json"), *place.glob("annotations/*.json")])
        # Files that say what they are come first: COCO's instance files beside them take gigabytes to parse.
        for named in (True, False):
            parsed = [(f, _coco(f, files)) for f in found if ("caption" in f.name.lower()) is named]
            present = [(f, own) for f, own in parsed if any(s.path.is_file() for s in own)]
            # val2017 given, and photos of train have the same names: the file named after the folder is the one meant.
            present = [(f, own) for f, own in present if files.folder.name in f.stem] or present
            if len(present) > 1:
                return [replace(s, split=_split_of(f)) for f, own in present for s in own]
            if present:
                return present[0][1]
            if place == folder:
                absent = absent or next((own for _, own in parsed if own), [])
    return absent


def _split_of(file: Path) -> str:
    return next((split for split in ("train", "val") if split in file.stem.lower()), "")


class _Files:
    """Finds the image that a COCO file means by ``file_name``, wherever it lies in the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = defaultdict(list)
        seen = set()
        for root, folders, names in os.walk(self.folder, followlinks=True):
            # Image folders are often links to a data disk; a link to a folder above would lead in circles.
            seen.add(os.path.realpath(root))
            folders[:] = sorted(f for f in folders if os.path.realpath(Path(root, f)) not in seen)
            for name in names:
                found[name].append(Path(root, name))
        return found

    def find(self, name: str, stem: str) -> Path:
        """The image; of several with this name the one whose folder the JSON's stem names (``captions_val2017``)."""
        direct = self.folder / name
        if direct.is_file():
            return direct
        same = self._by_name.get(PurePosixPath(name).name, [])
        return next((p for p in same if p.parent.name in stem), same[0] if same else direct)


def _coco(file: Path, files: _Files) -> list[Sample]:
    """Samples of a COCO captions JSON; empty when the file is some other JSON."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(content, dict) or "images" not in content or "annotations" not in content:
        return []
    captions: dict[Any, list[str]] = defaultdict(list)
    try:
        for annotation in content["annotations"]:
            caption = annotation.get("caption")
            if isinstance(caption, str) and caption.strip():
                captions[annotation["image_id"]].append(" ".join(caption.split()))
        if not captions:
            return []
        return [
            Sample(files.find(image["file_name"], file.stem), tuple(captions.get(image["id"], ())))
            for image in content["images"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{file.name} is not as COCO captions are: images with id and file_name, annotations with image_id and caption "
            f"({type(error).__name__}: {error})."
        ) from None
