"""Captions of a visitor's photos: from CSV, JSONL or COCO files, from file names, or typed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, takewhile
from pathlib import Path, PurePosixPath

from core.common.errors import DataError, brief
from core.common.messages import Message, message
from core.common.text import one_line, safe_name
from core.data.jsonl import captions_of, label_of, rows
from core.data.sample import Sample, caption_texts
from core.data.text import decoded, lines, parse_json

MAX_CAPTION = 1_000
CAPTIONS_A_PHOTO = 20

_PHOTO_COLUMNS = {"image", "file", "filename", "file_name", "image_name", "image_path", "name", "photo", "path"}
_TEXT_COLUMN = re.compile(r"(caption|text|description|comment|sentence|title)s?([ _-]?\d+)?")
_DELIMITER = re.compile(r"[,;\t|]")
_TOKEN_NUMBER = re.compile(r"(?<=\.\w{3})#\d+$|(?<=\.\w{4})#\d+$")  # Flickr8k.token.txt: "a.jpg#0"
_CAMERA_WORDS = {"img", "dsc", "dscn", "dscf", "dcim", "pxl", "mvimg", "image", "photo", "picture", "pic", "scan", "wa"}
_PHOTO_FILE = re.compile(r"(.+?\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif|jp2))\s*[:,;\t]\s*(.*)", re.IGNORECASE)

Captions = dict[str, tuple[str, ...]]


def read_captions(name: str, data: bytes, most: int | None = None) -> Captions:
    """Captions by image name, in file order, from the content of a captions file.

    - CSV (also with ``;``, tab or ``|``) with a header such as ``image,caption``, or with these two columns and no header.
    - JSONL with ``{"image": "a.jpg", "captions": ["…"]}`` or ``{"image": "a.jpg", "label": "dog"}`` on each line. The label
      becomes the caption "a photo of a dog".
    - COCO captions JSON.

    An image may have several rows, each with a caption. Raises DataError: when the file is not UTF-8, is malformed (the message
    names the line), or has no captions, or more than ``most``.
    """
    label = safe_name(name)
    text = decoded(label, data)
    readers = {".jsonl": _jsonl, ".json": _json}
    pairs = readers.get(PurePosixPath(label).suffix.lower(), _csv)(label, text)
    captions = _collect(islice(pairs, most))
    if not captions:
        raise DataError("CORE_NO_CAPTIONS", label=label)
    if most is not None and next(pairs, None) is not None:
        raise DataError("CORE_MANY_CAPTIONS", label=label, most=most)
    return captions


def captions_from_names(names: Iterable[str]) -> Captions:
    """Captions from the words in file names: ``dog_on_beach-2.jpg`` gives "dog on beach"; ``IMG_2034.jpg`` gives none."""
    return _collect((name, _words(name)) for name in names)


def parse_typed(text: str) -> Captions:
    """Captions typed as ``name: caption`` or ``name, caption``, one per line. A name may have several lines. Raises DataError:
    when a line has no name or no caption; the message has the line number."""
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _PHOTO_FILE.fullmatch(line.strip()) or re.fullmatch(r"([^:,;\t]+)[:,;\t](.*)", line.strip())
        if match is None or not match[1].strip() or not match[2].strip():
            raise DataError("CORE_TYPED_LINE", typed=message("CORE_TYPED"), line=number)
        pairs.append((match[1].strip(), match[2]))
    return _collect(pairs)


def match_captions(names: Sequence[str], captions: Mapping[str, Sequence[str]]) -> list[tuple[str, ...] | None]:
    """The captions of each photo name, or None: by file name, else by the name without its extension. Ignores case.

    Folders in the keys are ignored (``images/a.jpg`` means ``a.jpg``). A key that is a photo's full name matches this photo
    only, so that ``a.png`` does not caption ``a.jpg`` beside it.
    """
    by_name: dict[str, list[str]] = {}
    for key, texts in captions.items():
        by_name.setdefault(safe_name(key).casefold(), []).extend([texts] if isinstance(texts, str) else texts)
    full = [name.casefold() for name in names]
    by_stem: dict[str, list[str]] = {}
    for key in by_name.keys() - set(full):
        for stem in {key, PurePosixPath(key).stem}:
            by_stem.setdefault(stem, []).extend(by_name[key])
    matched = []
    for name in full:
        texts = by_name.get(name, by_stem.get(PurePosixPath(name).stem))
        matched.append(None if texts is None else clean_captions(texts))
    return matched


def clean_captions(texts: Iterable[str]) -> tuple[str, ...]:
    """The first CAPTIONS_A_PHOTO captions, each on one line of at most MAX_CAPTION characters; no empty or repeated ones."""
    short = (one_line(text)[:MAX_CAPTION] for text in texts)
    return tuple(islice(dict.fromkeys(text for text in short if text), CAPTIONS_A_PHOTO))


def _collect(pairs: Iterable[tuple[str, str]]) -> Captions:
    texts_of: dict[str, list[str]] = {}
    for name, caption in pairs:
        texts_of.setdefault(name, []).append(caption)
    cleaned = {name: clean_captions(texts) for name, texts in texts_of.items()}
    return {name: texts for name, texts in cleaned.items() if texts}


def _words(name: str) -> str:
    """The words of a file name, without ids and the numbers of cameras, or ""."""
    words = re.split(r"[\W_]+", PurePosixPath(safe_name(name)).stem.rstrip("0123456789()_ -"))
    named = any(len(word) > 1 and word.isalpha() and word.casefold() not in _CAMERA_WORDS for word in words)
    return " ".join(word for word in words if word.isalpha() or len(word) < 3) if named else ""


def _csv(label: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield (image, caption) of each row. Extra cells after the caption column belong to a caption with unquoted commas."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    match = _DELIMITER.search(first)
    delimiter = match[0] if match else ","
    image, texts, width = 0, [1], 2
    for number, (line, row) in enumerate(_csv_rows(label, text, delimiter)):
        where = message("CORE_LINE", label=label, line=line)
        if number == 0 and (header := _columns([cell.casefold() for cell in row], where)) is not None:
            (image, texts), width = header, len(row)
            continue
        if len(row) > width:
            if texts[-1] != width - 1:
                raise DataError("CORE_CSV_COLUMNS", where=where, n=len(row), width=width)
            row = [*row[: width - 1], f"{delimiter} ".join(row[width - 1 :])]
        cells = [row[i] for i in takewhile(len(row).__gt__, texts)]  # a header may have a million columns, a row two
        if image >= len(row) or not row[image] or not cells:
            raise DataError("CORE_CSV_PAIR", where=where)
        name = _TOKEN_NUMBER.sub("", row[image])
        yield from ((name, cell) for cell in cells)


def _csv_rows(label: str, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the non-blank rows, each with the number of its last line."""
    # Between tabs, a quote is part of the caption. With commas, strict: otherwise an unclosed quote makes the rest of the file
    # one caption.
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True, quoting=quoting)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, [cell.strip() for cell in row]
    except csv.Error as error:
        raise DataError("CORE_CSV", label=label, line=reader.line_num, error=error) from None


def _columns(header: list[str], where: Message) -> tuple[int, list[int]] | None:
    """Positions of the image column and the caption columns. None if the row is no header."""
    images = [i for i, cell in enumerate(header) if cell in _PHOTO_COLUMNS]
    if not images:
        if len(header) > 1 and any(_TEXT_COLUMN.fullmatch(cell) for cell in header) and "." not in header[0]:
            raise DataError("CORE_CSV_NO_IMAGE", where=where)
        return None
    texts = [i for i, cell in enumerate(header) if i != images[0] and _TEXT_COLUMN.fullmatch(cell)]
    if not texts:
        raise DataError("CORE_CSV_NO_CAPTION", where=where)
    return images[0], texts


def _jsonl(label: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield (image, caption) from the lines of ``captions.jsonl`` or ``labels.jsonl``."""
    for where, row in rows(label, text):
        if "label" in row and "captions" not in row and "caption" not in row:
            texts = caption_texts(Sample(Path(row["image"]), label=label_of(where, row)))
        else:
            texts = captions_of(where, row)
        yield from ((row["image"], t) for t in texts)


def _json(label: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield (image, caption) from COCO captions. Also accepts a JSONL file with the name .json."""
    first = next((line for _, line in lines(text)), "").rstrip()
    if first.endswith("}") and '"image"' in first:
        yield from _jsonl(label, text)
        return
    content = parse_json(label, text)
    try:
        names = {image["id"]: image["file_name"] for image in content["images"]}
        pairs = [(names[a["image_id"]], a["caption"]) for a in content["annotations"]]
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError("CORE_COCO_OR_JSONL", file=label, kind=type(error).__name__, error=brief(str(error))) from None
    for number, (name, caption) in enumerate(pairs):
        if not isinstance(name, str) or not isinstance(caption, str):
            raise DataError("CORE_COCO_TEXTS", label=label, n=number + 1)
        yield name, caption
