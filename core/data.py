"""Data folders: photos with captions or labels, read by path and never copied.

Two formats (DESIGN 4): ``captions.jsonl`` / ``labels.jsonl`` with one JSON object a line, and the standard COCO
captions JSON beside an image folder.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
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
    for candidate in sorted([*folder.glob("*.json"), *folder.glob("annotations/*.json")]):
        samples = _coco(candidate, folder)
        if samples:
            return samples
    raise DataError(
        f"{folder} holds no captions.jsonl, no labels.jsonl and no COCO captions JSON: one of them is needed beside the images."
    )


def _json_lines(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{path.name} is not UTF-8 text.") from None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path.name}, line {number}: not valid JSON ({error.msg}).") from None
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


def _coco(file: Path, folder: Path) -> list[Sample]:
    """Samples of a COCO captions JSON; empty when the file is some other JSON."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return []
    if not isinstance(content, dict) or "images" not in content or "annotations" not in content:
        return []
    captions: dict[int, list[str]] = defaultdict(list)
    for annotation in content["annotations"]:
        if isinstance(annotation.get("caption"), str) and annotation["caption"].strip():
            captions[annotation["image_id"]].append(" ".join(annotation["caption"].split()))
    roots = [folder, *sorted(p for p in folder.rglob("*") if p.is_dir())] if captions else []
    samples = []
    for image in content["images"]:
        if captions.get(image["id"]):
            name = image["file_name"]
            path = next((root / name for root in roots if (root / name).is_file()), folder / name)
            samples.append(Sample(path, tuple(captions[image["id"]])))
    return samples
