"""One interface for the photos that are searched: a gallery's at one moment (a visitor's, or samples), or a library's."""

import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from core.backbones.base import Backbone
from core.common.errors import DescriptionError
from core.common.lazy import lazy
from core.names.ridge import Background, pooled
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import columns, embeddings
from core.retrieval.index import Index
from core.retrieval.popularity import popularity, spread_rows

BACKGROUND, FEWEST = 5_000, 20  # most and fewest photos of a background


@dataclass(frozen=True)
class Where:
    """A filter: photos in ``folder`` or below it, taken from ``since`` to ``until``, both days included. Raises
    DescriptionError: when ``since`` is after ``until``."""

    folder: Path | None = None  # a name in ``PhotoSet.folders``; in a library, also an absolute path
    since: date | None = None
    until: date | None = None

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise DescriptionError("The first day {since} is after {until}: swap the days.", since=self.since, until=self.until)

    def __bool__(self) -> bool:
        return any(value is not None for value in (self.folder, self.since, self.until))


class PhotoSet(Protocol):
    """Photos in rows 0 to n - 1. The key of a photo is the hash of its content, 32 hex digits. Thread-safe."""

    backbone: Backbone

    def __len__(self) -> int: ...
    def key(self, row: int) -> str: ...
    def row(self, key: str) -> int | None: ...
    def index_for(self, adapter: Adapter) -> Index:
        """The index of ``columns.photo_rows`` as the adapter sees the photos. Most adapters share one index. Raises
        AdapterError: when numbers are NaN or infinite, or photos cannot be embedded again here."""
        ...

    def prefixes(self, rows: Sequence[int]) -> Tensor:
        """Prefix activations [n, *prefix_shape] float16."""
        ...

    def named(self, rows: Sequence[int], folder: Path | None = None) -> list[tuple[str, Path | None]]:
        """The name of each photo; in a library also its file, preferably below ``folder``."""
        ...

    @property
    def folders(self) -> Collection[str]: ...
    def inside(self, folder: Path) -> np.ndarray:
        """Whether each photo is in the folder or below it, [n] bool."""
        ...

    @property
    def days(self) -> np.ndarray:
        """The day each photo was taken, [n] datetime64[D]. NaT: unknown."""
        ...

    @lazy
    def several_days(self) -> bool:
        """Whether the known days differ."""
        return len(np.unique(self.days[~np.isnat(self.days)])) > 1

    def among(self, where: Where) -> np.ndarray | None:
        """The rows [k] of the photos that pass the filter, ascending; None: all. An unknown day is in no range."""
        if not where:
            return None
        kept = np.ones(len(self), bool) if where.folder is None else self.inside(where.folder)
        if where.since is not None:
            kept &= self.days >= np.datetime64(where.since)
        if where.until is not None:
            kept &= self.days <= np.datetime64(where.until)
        return np.flatnonzero(kept)

    def embeddings(self, adapter: Adapter = ZERO_SHOT, most: int = sys.maxsize) -> Tensor:
        """The photos in the shared space, [k, d] float32, unit length: all, or ``most`` at evenly spread rows."""
        index = self.index_for(adapter)
        return embeddings(self.backbone, index.take(spread_rows(len(index), most)), adapter.lora)

    def popularity(self, texts: Tensor, adapter: Adapter) -> Tensor:
        """The ``popularity`` [m] of texts with these query rows [m, w]."""
        index = self.index_for(adapter)
        return popularity(index.take(spread_rows(len(index))), texts)

    @lazy
    def background(self) -> Background | None:
        """The photos as the background of names. None if adapters move photos, and the backbone has no shared LoRA."""
        if self.backbone.shared is None and self.backbone.layout.moves_photos:
            return None
        index = self.index_for(ZERO_SHOT)
        return Background.of(columns(self.backbone, index.take(spread_rows(len(index), BACKGROUND))))


def background(sets: Iterable[PhotoSet | None]) -> Background | None:
    """The ``background`` of photos that are searched together; None if there are fewer than FEWEST."""
    parts = [(each.background, len(each)) for each in sets if each is not None and len(each)]
    known, counts = tuple(part for part, _ in parts if part is not None), tuple(count for _, count in parts)
    if not known or len(known) < len(counts) or sum(counts) < FEWEST:
        return None
    first, *more = known
    return pooled(known, counts) if more else first


def prefixes(sets: Iterable[PhotoSet], keys: Iterable[str], backbone: Backbone) -> Tensor:
    """Prefix activations [n, *prefix_shape] float16 of photos, in the order of the sets; unknown keys are ignored."""
    left, parts = list(keys), [torch.empty(0, *backbone.prefix_shape, dtype=torch.float16)]
    for photos in sets:
        rows = {key: row for key in left if (row := photos.row(key)) is not None}
        parts += [photos.prefixes(list(rows.values()))] if rows else []
        left = [key for key in left if key not in rows]
    return torch.cat(parts)
