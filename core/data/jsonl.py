"""``captions.jsonl`` and ``labels.jsonl``: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.common.errors import DataError
from core.common.text import one_line
from core.data.sample import Sample
from core.data.text import read_lines

CAPTIONS_FILE = "captions.jsonl"
LABELS_FILE = "labels.jsonl"


def read_captions(folder: Path) -> list[Sample]:
    """``{"image": "images/1.jpg", "split": "train", "captions": ["…"]}`` a line, perhaps with ``"categories": ["dog"]``."""
    samples = []
    for where, row in _rows(folder / CAPTIONS_FILE):
        captions = row.get("captions", row.get("caption"))
        captions = _texts(where, "captions", [captions] if isinstance(captions, str) else captions)
        categories = _texts(where, "categories", row.get("categories", []))
        kept = tuple(one_line(c) for c in captions if c.strip())
        samples.append(
            Sample(folder / row["image"], kept, str(row.get("split", "")), categories=tuple(sorted(set(categories))))
        )
    return samples


def read_labels(folder: Path) -> list[Sample]:
    """``{"image": "images/1.jpg", "set": "…", "domain": "…", "label": "…", "split": "…"}`` a line."""
    samples = []
    for where, row in _rows(folder / LABELS_FILE):
        if not isinstance(row.get("label"), str):
            raise DataError(f'{where}: a "label" text is expected.')
        samples.append(
            Sample(
                folder / row["image"],
                split=str(row.get("split", "")),
                label=row["label"],
                domain=str(row.get("domain", "")),
                dataset=str(row.get("set", "")),
            )
        )
    return samples


def _texts(where: str, key: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(t, str) for t in value):
        raise DataError(f'{where}: "{key}" must be a list of texts.')
    return value


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object with the words that say where it stands."""
    for number, line in read_lines(path):
        where = f"{path.name}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: not valid JSON ({error.msg}).") from None
        except (ValueError, RecursionError):
            raise DataError(f"{where}: JSON with numbers or nesting beyond all use.") from None
        if not isinstance(row, dict) or not isinstance(row.get("image"), str):
            raise DataError(f'{where}: an object with an "image" is expected.')
        yield where, row
