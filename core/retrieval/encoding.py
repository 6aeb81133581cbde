"""From photo files to embeddings: threads read and decode files, while the model encodes the batch before."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from core.backbones.base import Backbone
from core.common.errors import PhotoError
from core.common.progress import Bar, Log
from core.data.decode import Read
from core.data.image_io import open_photo
from core.data.read_ahead import read_ahead
from core.retrieval.columns import photo_rows

Item = TypeVar("Item")


class Encoded(NamedTuple):
    """An encoded photo: id of its content, EXIF date, JPEG thumbnail, prefix activations [*prefix_shape], zero-shot photo row
    [w], and the keywords in the file."""

    id: str
    taken: datetime | None
    thumbnail: bytes
    prefix: Tensor
    row: Tensor
    keywords: tuple[str, ...] = ()


# An encoded photo, the id of a known photo, or why there is none.
Outcome = Encoded | str | PhotoError


def encode(batch: Sequence[tuple[Item, Read]], backbone: Backbone) -> list[tuple[Item, Outcome]]:
    """Encode the photos among files that were read. A photo in several files is encoded once."""
    fresh = dict(read for _, read in batch if isinstance(read, tuple))
    done: dict[str, Encoded] = {}
    if fresh:
        pixels = torch.frombuffer(bytearray(b"".join(photo.pixels for photo in fresh.values())), dtype=torch.uint8)
        frames = pixels.view(len(fresh), backbone.framing.height, backbone.framing.width, 3)
        prefixes = backbone.prefix(backbone.normalised(frames))
        for (id, photo), *tensors in zip(fresh.items(), prefixes, photo_rows(backbone, prefixes), strict=True):
            # Copies: a view would keep the whole batch in memory.
            prefix, row = (tensor.clone() for tensor in tensors)
            done[id] = Encoded(id, taken_at(photo.taken), photo.thumbnail, prefix, row, photo.keywords)
    return [(item, done[read[0]] if isinstance(read, tuple) else read) for item, read in batch]


def taken_at(exif: object) -> datetime | None:
    """Parse EXIF's "2024:05:01 12:30:00". None for anything else, such as from a camera whose clock was never set."""
    with suppress(ValueError, TypeError):
        return datetime.strptime(str(exif), "%Y:%m:%d %H:%M:%S")
    return None


def read_prefixes(backbone: Backbone, paths: Sequence[Path], log: Log) -> tuple[list[int], Tensor, list[str]]:
    """The indexes of the readable photos, their prefix activations [n, *prefix_shape] float16, and an error message for each
    other photo. Decodes in this process, so for trusted files only."""

    def pixels(index: int) -> Tensor | str:
        try:
            return backbone.pixels(open_photo(paths[index]))
        except PhotoError as error:
            return str(error)

    kept: list[int] = []
    skipped: list[str] = []
    parts = [torch.empty(0, *backbone.prefix_shape, dtype=torch.float16)]
    with Bar("reading", len(paths), log) as bar:
        for batch in read_ahead(range(len(paths)), pixels):
            good = {index: value for index, value in batch if isinstance(value, Tensor)}
            skipped += [value for _, value in batch if isinstance(value, str)]
            kept += good
            if good:
                parts.append(backbone.prefix(torch.stack(list(good.values()))))
            bar.to(batch[-1][0] + 1)
    return kept, torch.cat(parts), skipped
