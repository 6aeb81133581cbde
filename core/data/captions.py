"""Captions of a visitor's photos: from CSV, JSONL or Flickr8k's text, from file names, or typed."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath

from core.common.errors import DataError
from core.common.messages import Message, message
from core.common.text import one_line, safe_name
from core.data.jsonl import read_samples
from core.data.sample import caption_texts
from core.data.text import decoded

MAX_CAPTION = 1_000
CAPTIONS_A_PHOTO = 20

_PHOTO_COLUMNS = {"image", "file", "filename", "file_name", "image_name", "image_path", "name", "photo", "path"}
_TEXT_COLUMN = re.compile(r"(caption|text|description|comment|sentence|title)s?")
_DELIMITER = re.compile(r"[,;\t|]")
_TOKEN_NUMBER = re.compile(r"(?<=\.\w{3})#\d+$|(?<=\.\w{4})#\d+$")  # Flickr8k.token.txt: "a.jpg#0"
_CAMERA_WORDS = {"img", "dsc", "dscn", "dscf", "dcim", "pxl", "mvimg", "image", "photo", "picture", "pic", "scan", "wa"}
_PHOTO_NAME = r".+?\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif|jp2|hei[cf])"
_PHOTO_FILE = re.compile(rf"({_PHOTO_NAME})\s*[:,;\t]\s*(.*)", re.IGNORECASE)
_FLICKR_LINE = re.compile(rf"\s*(image(_name)?|{_PHOTO_NAME}(#\d+)?)\s*[,;\t|]", re.IGNORECASE)

Captions = dict[str, tuple[str, ...]]


def read_captions(name: str, data: bytes, most: int | None = None) -> Captions:
    """Captions by image name, in file order, from the content of a captions file.

    - CSV (also with ``;``, tab or ``|``) with a header such as ``image,caption``, or with these two columns and no header.
    - JSONL with ``{"image": "a.jpg", "captions": ["…"]}`` or ``{"image": "a.jpg", "label": "dog"}`` on each line. The label
      becomes the caption "a photo of a dog".

    An image may have several rows, each with a caption. Raises DataError: when the file is not UTF-8, is malformed (the message
    names the line), or has no captions, or more than ``most``.
    """
    label = safe_name(name)
    text = decoded(label, data)
    pairs = (_jsonl if PurePosixPath(label).suffix.lower() == ".jsonl" else _csv)(label, text)
    captions = _collect(islice(pairs, most))
    if not captions:
        raise DataError("{label} holds no captions.", label=label)
    if most is not None and next(pairs, None) is not None:
        raise DataError("{label} holds more than {most:,} captions: send those of your photos alone.", label=label, most=most)
    return captions


def is_flickr_text(content: bytes) -> bool:
    """Whether a text begins as Flickr8k's captions do: with a header, or with the file name of a photo and its caption."""
    return _FLICKR_LINE.match(content[:MAX_CAPTION].decode("utf-8-sig", "replace")) is not None


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
            raise DataError("Typed captions, line {line}: “name: caption” is expected, such as “dog.jpg: a dog”.", line=number)
        pairs.append((match[1].strip(), match[2]))
    return _collect(pairs)


def match_captions(names: Sequence[str], captions: Mapping[str, Sequence[str]]) -> list[tuple[str, ...] | None]:
    """The captions of each photo name, or None: by file name, else by the name without its extension. Ignores case, and folders
    in the keys (``images/a.jpg`` means ``a.jpg``)."""
    by_name: dict[str, list[str]] = {}
    for key, texts in captions.items():
        by_name.setdefault(safe_name(key).casefold(), []).extend(texts)
    full = [name.casefold() for name in names]
    matched = [by_name.get(name, by_name.get(PurePosixPath(name).stem)) for name in full]
    return [None if texts is None else clean_captions(texts) for texts in matched]


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
    image, caption, width = 0, 1, 2
    for number, (line, row) in enumerate(_csv_rows(label, text, delimiter)):
        where = message("{label}, line {line}", label=label, line=line)
        if number == 0 and (header := _columns([cell.casefold() for cell in row], where)) is not None:
            (image, caption), width = header, len(row)
            continue
        if len(row) > width:
            if caption != width - 1:
                raise DataError("{where}: {n} columns, but the first line has {width}.", where=where, n=len(row), width=width)
            row = [*row[: width - 1], f"{delimiter} ".join(row[width - 1 :])]
        if len(row) <= max(image, caption) or not row[image]:
            raise DataError("{where}: an image and a caption are expected, such as “dog.jpg,a dog on the beach”.", where=where)
        yield _TOKEN_NUMBER.sub("", row[image]), row[caption]


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
        raise DataError(f"{label}, line {reader.line_num}: not valid CSV ({error}).") from None


def _columns(header: list[str], where: Message) -> tuple[int, int] | None:
    """Positions of the image column and the caption column. None if the row is no header."""
    image = next((i for i, cell in enumerate(header) if cell in _PHOTO_COLUMNS), None)
    if image is None:
        return None
    for caption, cell in enumerate(header):
        if caption != image and _TEXT_COLUMN.fullmatch(cell):
            return image, caption
    raise DataError("{where}: the header names an image column but no caption column (call it “caption”).", where=where)


def _jsonl(label: str, text: str) -> Iterator[tuple[str, str]]:
    for sample in read_samples(label, text):
        yield from ((str(sample.path), caption) for caption in caption_texts(sample))
