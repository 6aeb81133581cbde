"""``captions.jsonl`` and ``labels.jsonl``: one JSON object per line."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from core.common.errors import DataError
from core.common.messages import Message, message
from core.common.text import one_line
from core.data.sample import Sample
from core.data.text import lines, parse_json, read_text

CAPTIONS_FILE = "captions.jsonl"
LABELS_FILE = "labels.jsonl"


def read_samples(name: str, text: str, folder: Path = Path()) -> Iterator[Sample]:
    """Read lines ``{"image": "images/1.jpg", "split": "train", "captions": ["…"]}``, or with a ``"label"`` and no captions.
    Optional keys: ``"categories": ["dog"]``, and ``"domain"`` and ``"set"`` for a special domain. ``name``: of the file, in
    error messages. Raises DataError: when a line has another form; the message has its number."""
    for where, row in _rows(name, text):
        label, captions = "", row.get("captions", row.get("caption"))
        if captions is None and "label" in row:
            label, captions = row["label"], []
            if not isinstance(label, str):
                raise DataError(f'{where}: a "label" text is expected.')
        texts = _texts(where, "captions", [captions] if isinstance(captions, str) else captions)
        categories = sorted(set(_texts(where, "categories", row.get("categories", []))))
        split, domain, dataset = (str(row.get(key, "")) for key in ("split", "domain", "set"))
        cleaned = tuple(one_line(text) for text in texts if text.strip())
        yield Sample(folder / row["image"], cleaned, split, label, domain, dataset, tuple(categories))


def read_file(file: Path) -> list[Sample]:
    """The samples of a file, as ``read_samples``."""
    return list(read_samples(file.name, read_text(file), file.parent))


class Translation(NamedTuple):
    """A caption in another language."""

    language: str  # its code, such as "de"
    text: str
    english: str  # the caption that it translates; "" if a native speaker wrote it for the photo


def read_translations(folder: Path) -> dict[str, list[Translation]]:
    """Captions in other languages by image, from all ``*.jsonl`` files of a folder.

    A line is ``{"image": "images/1.jpg", "en": "…", "de": "…"}`` for translations of one English caption, or
    ``{"image": "images/1.jpg", "zh": ["…"], "en-zh": [["English", "Chinese"]]}`` for captions by native speakers and for
    translations of several captions. Raises DataError: when there is no file, or a line has other types.
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise DataError(f"{folder} holds no .jsonl file with captions in other languages: one is needed.")
    found: dict[str, list[Translation]] = defaultdict(list)
    for where, row in (line for file in files for line in _rows(file.name, read_text(file))):
        for key, value in row.items():
            if key in ("image", "split", "en"):
                continue
            if key.startswith("en-"):
                pairs = [_texts(where, key, pair) for pair in (value if isinstance(value, list) else [None])]
                texts = [Translation(key, pair[1], pair[0]) for pair in pairs if len(pair) == 2]
            elif isinstance(value, str):
                texts = [Translation(key, value, str(row.get("en", "")))]
            else:
                texts = [Translation(key, text, "") for text in _texts(where, key, value)]
            cleaned = [Translation(key.removeprefix("en-"), one_line(t.text), one_line(t.english)) for t in texts]
            found[row["image"]] += [t for t in cleaned if t.text]
    return found


def _rows(name: str, text: str) -> Iterator[tuple[Message, dict[str, Any]]]:
    """Yield (place, object) of each line; errors name this place. Raises DataError: when it is no object with an image."""
    for number, line in lines(text):
        where = message("{label}, line {line}", label=name, line=number)
        row = parse_json(where, line)
        if not isinstance(row, dict) or not isinstance(row.get("image"), str) or not row["image"].strip():
            raise DataError(f'{where}: an object with an "image" is expected.')
        yield where, row


def _texts(where: Message, key: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(t, str) for t in value):
        raise DataError(f'{where}: "{key}" must be a list of texts.')
    return value
