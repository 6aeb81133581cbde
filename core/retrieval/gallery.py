"""A visitor's photos and captions, with the embeddings that search needs.

The frozen prefix of the image tower runs once for each photo content. Adapters that adapt texts only, or move photos by the
backbone's shared LoRA only, need no more. For any other adapter, the suffix runs again on every photo.
"""

from __future__ import annotations

import math
import sys
import threading
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import accumulate, takewhile
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from core.backbones.base import Backbone
from core.common.errors import GalleryError, PhotoError, StudioError
from core.common.lazy import lazy
from core.common.messages import Message, message
from core.common.metrics import Hits, Relevance, hits
from core.common.progress import Progress, Stop, never
from core.common.recent import Recent
from core.common.text import free_name, safe_name
from core.data.captions import match_captions
from core.data.decode import Failure, Read, Source, content_id, read_photo, source_folder
from core.data.decode_pool import DecodedPhoto, Upload
from core.data.image_io import photo_error, reason_of
from core.data.keywords import folder_keywords
from core.data.read_ahead import read_ahead
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import photo_rows, text_rows, width
from core.retrieval.encoding import Outcome, encode
from core.retrieval.index import Hit, Index, Ranking
from core.retrieval.photo_set import PhotoSet
from core.retrieval.popularity import with_popularity

__all__ = ["ZERO_SHOT", "Adapter", "AddReport", "Gallery", "Hit", "Photo", "Progress", "Ranking", "Stop", "never"]

DEFAULT_LIMIT = 1_000
TEXT_BYTES = 64  # Python's overhead for a string, beside its characters
THUMBNAIL_BYTES = 16_000  # estimate for a detailed photo, used to limit a gallery's memory
CAPTIONED = 2_000  # captions of the first so many captioned photos are used
MOST_TEXTS = 10_000  # captions to rank
CAPTIONS_AT_ONCE = 128
KEPT_CAPTIONS = 3  # the page compares as many adapters
SUFFIX_BATCH = 32  # small enough for the caches: 20 % faster than 128 on one core
KEPT_ADAPTERS = 4  # the page compares three at once
KEPT_HITS = 16  # small; the page counts those of eleven adapters
ENCODING = threading.BoundedSemaphore(3)  # uploads that the model encodes at the same time, batch by batch


@dataclass(frozen=True)
class Photo:
    id: str  # hash of the file's content
    name: str  # safe file name, unique in the gallery
    thumbnail: bytes = field(repr=False)  # small upright JPEG
    captions: tuple[str, ...] = ()
    taken: date | None = None  # the day from the camera's EXIF data
    folder: str = ""  # its folder inside an added ZIP, beginning with the ZIP's name
    keywords: tuple[str, ...] = ()  # those in the file, and names of folders in the ZIP


@dataclass(frozen=True)
class Entry:
    """A photo, its prefix activations [*prefix_shape], and its index row [w]."""

    photo: Photo
    prefix: Tensor
    row: Tensor

    @property
    def memory(self) -> int:
        texts = sum(len(text) + TEXT_BYTES for text in (*self.photo.captions, *self.photo.keywords))
        return texts + len(self.photo.thumbnail) + self.prefix.nbytes + self.row.nbytes


@dataclass(frozen=True, eq=False)
class GalleryPhotos(PhotoSet):
    """The photos of a gallery at one moment, and what was computed for them last. Immutable, so readers need no lock."""

    backbone: Backbone
    entries: Mapping[str, Entry] = field(default_factory=dict)  # by id, in order of arrival
    plain: Recent[Index] = field(default_factory=lambda: Recent(1))  # for adapters that need no photo embedded again
    adapted: Recent[Index] = field(default_factory=lambda: Recent(KEPT_ADAPTERS))  # for others
    read: Recent[dict[str, Tensor]] = field(default_factory=lambda: Recent(1))  # prefixes of captions
    captions: Recent[Tensor] = field(default_factory=lambda: Recent(KEPT_CAPTIONS))  # their query rows, by adapter
    counted: Recent[dict[str, Hits]] = field(default_factory=lambda: Recent(KEPT_HITS))  # by adapter and captions

    @lazy
    def photos(self) -> tuple[Photo, ...]:
        return tuple(entry.photo for entry in self.entries.values())

    @lazy
    def memory(self) -> int:
        """Bytes of the photos and their captions, without what was computed later."""
        return sum(entry.memory for entry in self.entries.values())

    def __len__(self) -> int:
        return len(self.entries)

    def key(self, row: int) -> str:
        return self.photos[row].id

    def row(self, key: str) -> int | None:
        return next((row for row, known in enumerate(self.entries) if known == key), None)

    def index_for(self, adapter: Adapter) -> Index:
        if self.entries and adapter.moves_photos and self.backbone.shared is None:
            return self.adapted.get(adapter.key, lambda: Index(self._rows(adapter).numpy()))
        none = torch.empty(0, width(self.backbone))
        rows = [each.row[None] for each in self.entries.values()]
        return self.plain.get("", lambda: Index(torch.cat([none, *rows]).numpy()))

    def _rows(self, adapter: Adapter) -> Tensor:
        starts = range(0, len(self), SUFFIX_BATCH)
        parts = (self.prefixes(range(start, min(start + SUFFIX_BATCH, len(self)))) for start in starts)
        return torch.cat([photo_rows(self.backbone, part, adapter) for part in parts])

    def prefixes(self, rows: Sequence[int]) -> Tensor:
        none = torch.empty(0, *self.backbone.prefix_shape, dtype=torch.float16)
        return torch.cat([none, *(self.entries[self.key(row)].prefix[None] for row in rows)])

    @lazy
    def days(self) -> np.ndarray:
        return np.array([photo.taken for photo in self.photos], "datetime64[D]")

    @lazy
    def folders(self) -> Collection[str]:
        folders = {PurePosixPath(photo.folder) for photo in self.photos if photo.folder}
        return sorted({above.as_posix() for folder in folders for above in (folder, *folder.parents[:-1])})

    def inside(self, folder: Path) -> np.ndarray:
        return np.array([f"{photo.folder}/".startswith(f"{folder.as_posix()}/") for photo in self.photos], bool)

    def named(self, rows: Sequence[int], folder: Path | None = None) -> list[tuple[str, Path | None]]:
        return [(self.photos[row].name, None) for row in rows]

    def captioned(self) -> tuple[list[Photo], Tensor]:
        """The captioned photos of ``image_to_text``, and their prefix activations [n, *prefix_shape] float16."""
        rows = self._captioned()
        return [self.photos[row] for row in rows], self.prefixes(rows)

    def _captioned(self, without: Collection[str] = ()) -> list[int]:
        """The rows of the first photos with captions: CAPTIONED at most, with MOST_TEXTS captions at most. ``without``: ids to
        leave out."""
        rows = [row for row, photo in enumerate(self.photos) if photo.captions and photo.id not in without][:CAPTIONED]
        return rows[: bisect_right(list(accumulate(len(self.photos[row].captions) for row in rows)), MOST_TEXTS)]

    def image_to_text(
        self, prefix: Tensor, adapter: Adapter = ZERO_SHOT, top: int | None = None, stop: Stop = never
    ) -> Ranking:
        """Rank the captions of the first captioned photos by how well they fit the photo with this prefix [1, *prefix_shape].
        Equal captions count once. Raises GalleryError: when there are no captions. StudioError: when stopped."""
        texts = tuple(dict.fromkeys(text for row in self._captioned() for text in self.photos[row].captions))
        if not texts:
            raise GalleryError("No photo has captions yet: add a captions file or type captions first.")
        rows = self._caption_rows(texts, adapter, None, stop)
        (photo,) = photo_rows(self.backbone, prefix, adapter)
        return rank_captions(texts, rows @ photo - self.popularity(rows, adapter), top)

    def hits(
        self, adapter: Adapter = ZERO_SHOT, without: Collection[str] = (), progress: Progress | None = None, stop: Stop = never
    ) -> dict[str, Hits]:
        """Ranks for recall, {"i2t": …, "t2i": …}: of each photo's captions, and of each caption's photo. ``without``: ids of
        photos to leave out, with their captions. Raises GalleryError: when fewer than two photos have captions. StudioError:
        when stopped while captions are read."""
        rows = self._captioned(without)
        if len(rows) < 2:
            raise GalleryError("Recall needs at least two photos with captions: add a captions file or type captions.")

        def count() -> dict[str, Hits]:
            relevance = Relevance.of([self.photos[row].captions for row in rows])
            texts = self._caption_rows(relevance.texts, adapter, progress, stop)
            images = self.index_for(adapter).take(np.array(rows))
            return hits(*with_popularity(images, texts, self.popularity(texts, adapter)), relevance)

        return self.counted.get((adapter, tuple((self.photos[row].id, self.photos[row].captions) for row in rows)), count)

    def _caption_rows(self, texts: tuple[str, ...], adapter: Adapter, progress: Progress | None, stop: Stop) -> Tensor:
        """The ``text_rows`` [m, w] of captions."""

        def make() -> Tensor:
            prefixes = self.read.get(texts, lambda: self._read(texts, progress, stop))
            return text_rows(self.backbone, torch.stack(list(prefixes.values())), adapter, texts)

        return self.captions.get((adapter, texts), make)

    def _read(self, texts: tuple[str, ...], progress: Progress | None, stop: Stop) -> dict[str, Tensor]:
        """Text prefixes of captions. Only captions that the last call did not have are encoded."""
        prefixes = {text: prefix for last in self.read.values for text, prefix in last.items()}
        new = [text for text in texts if text not in prefixes]
        for start in range(0, len(new), CAPTIONS_AT_ONCE):
            if stop():
                raise StudioError("Reading the captions was stopped.")
            batch = new[start : start + CAPTIONS_AT_ONCE]
            prefixes |= zip(batch, map(torch.clone, self.backbone.text_prefix(batch)), strict=True)
            if progress is not None:
                progress(len(texts) - len(new) + start + len(batch), len(texts))
        return {text: prefixes[text] for text in texts}


def rank_captions(texts: tuple[str, ...], scores: Tensor, top: int | None = None) -> Ranking:
    """Captions with these scores [m], best first. The key of a hit is a hash: unlike the text, it is safe in a page."""
    best = torch.sort(scores, descending=True, stable=True).indices[:top].tolist()
    hits = [Hit(content_id(texts[i].encode()), texts[i], float(scores[i]), rank) for rank, i in enumerate(best, 1)]
    return Ranking(tuple(hits), len(texts))


@dataclass(frozen=True)
class AddReport:
    added: list[Photo] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)  # names of files whose content the gallery already has
    failed: list[Failure] = field(default_factory=list)
    ids: dict[int, str] = field(default_factory=dict)  # the photo id of each file, by its place among the files


Removed = tuple[tuple[int, Entry], ...]  # removed photos, with their rows


class Gallery:
    """Photos, captions and search of one visitor. Thread-safe. ``limit``: the maximum number of photos. ``most_bytes``: the
    maximum memory of these photos."""

    def __init__(self, backbone: Backbone, limit: int = DEFAULT_LIMIT, most_bytes: int = sys.maxsize) -> None:
        self.backbone, self.limit, self.most_bytes = backbone, limit, most_bytes
        self.clear()
        self._lock = threading.Lock()  # held briefly, to replace the contents
        self._adding = threading.Lock()  # held while files are added: one batch of files at a time

    def clear(self) -> None:
        self.contents = GalleryPhotos(self.backbone)

    @property
    def photos(self) -> tuple[Photo, ...]:
        """All photos, in order of arrival."""
        return self.contents.photos

    @property
    def memory(self) -> int:
        """Bytes of thumbnails, prefix activations, index rows, indexes and captions; without small data such as names."""
        contents = self.contents
        computed = [*contents.plain.values, *contents.adapted.values, *contents.captions.values]
        read = [prefix for prefixes in contents.read.values for prefix in prefixes.values()]
        return contents.memory + sum(each.nbytes for each in (*computed, *read))

    @property
    def holds_at_most(self) -> int:
        """About how many photos fit in an empty gallery, by count and by memory."""
        return min(self.limit, self.most_bytes // self._bytes_a_photo)

    @property
    def _bytes_a_photo(self) -> int:
        return 2 * math.prod(self.backbone.prefix_shape) + 4 * width(self.backbone) + THUMBNAIL_BYTES

    def _full(self, photos: int, memory: int) -> Message | None:
        """Why not even one photo fits beside so many, with so many bytes. None: it fits."""
        if photos >= self.limit:
            return message("the gallery is full: it takes at most {most:,} photos.", most=self.limit)
        if memory + self._bytes_a_photo > self.most_bytes:
            return message("the gallery is full: its photos take at most {mb:,} MB of memory.", mb=self.most_bytes // 2**20)
        return None

    def add(
        self,
        sources: Sequence[Source],
        progress: Progress | None = None,
        stop: Stop = never,
        keywords: Mapping[int, Sequence[str]] = {},
    ) -> AddReport:
        """Add photo files, batch by batch. Each content is added once; the report lists files that cannot be added. ``stop``:
        called before each file is read. ``keywords``: those beside a file, by its place among the sources."""
        report, upload = AddReport(), Upload(self.backbone.framing)
        files = [(source.name, source) if isinstance(source, Path) else source for source in sources]

        def decode(name: str, content: bytes) -> DecodedPhoto:
            if full := self._full(len(self.photos), self.contents.memory):
                raise photo_error(name, full)
            return upload.decode(name, content)

        def read(place: int) -> Read:
            name, content = files[place]
            return read_photo(safe_name(name), content, self.contents.entries, decode)

        with self._adding:
            for batch in read_ahead(takewhile(lambda _: not stop(), range(len(files))), read):
                with ENCODING:
                    outcomes = encode(batch, self.backbone)
                self._commit(outcomes, [name for name, _ in files], keywords, report)
                if progress is not None:
                    progress(batch[-1][0] + 1, len(files))
        return report

    def _commit(
        self,
        outcomes: Iterable[tuple[int, Outcome]],
        names: Sequence[str],
        keywords: Mapping[int, Sequence[str]],
        report: AddReport,
    ) -> None:
        with self._lock:
            entries, memory = dict(self.contents.entries), self.contents.memory
            taken = {photo.name.casefold() for photo in self.photos}
            for place, outcome in outcomes:
                name = safe_name(names[place])
                if isinstance(outcome, PhotoError):
                    report.failed.append(Failure(name, reason_of(outcome)))
                elif isinstance(outcome, str) or outcome.id in entries:
                    report.duplicates.append(name)
                    report.ids[place] = outcome if isinstance(outcome, str) else outcome.id
                elif full := self._full(len(entries), memory):
                    report.failed.append(Failure(name, full))
                else:
                    day, name = outcome.taken and outcome.taken.date(), _free_file_name(name, taken)
                    folder = source_folder(names[place])
                    inner = PurePosixPath(*PurePosixPath(folder).parts[1:])  # without the ZIP's name
                    words = tuple(dict.fromkeys([*outcome.keywords, *keywords.get(place, ()), *folder_keywords(inner)]))
                    photo = Photo(outcome.id, name, outcome.thumbnail, taken=day, folder=folder, keywords=words)
                    entries[photo.id] = entry = Entry(photo, outcome.prefix, outcome.row)
                    memory += entry.memory
                    taken.add(name.casefold())
                    report.added.append(photo)
                    report.ids[place] = photo.id
            self._replace(entries.values())

    def set_captions(self, captions: Mapping[str, Sequence[str]]) -> int:
        """Replace the captions of photos whose file name or stem matches a key, ignoring case. Returns the number of photos."""
        with self._lock:
            entries = dict(self.contents.entries)
            matched = match_captions([photo.name for photo in self.photos], captions)
            changed = [replace(p, captions=texts) for p, texts in zip(self.photos, matched, strict=True) if texts is not None]
            entries |= {photo.id: replace(entries[photo.id], photo=photo) for photo in changed}
            self.contents = replace(self.contents, entries=entries)
        return len(changed)

    def captioned_as(self, captions: Mapping[str, Sequence[str]]) -> Gallery:
        """A gallery of the same photos, which shares their memory, with other captions."""
        other = Gallery(self.backbone, self.limit, self.most_bytes)
        other.contents = replace(self.contents, read=Recent(1), captions=Recent(KEPT_CAPTIONS))
        other.set_captions(captions)
        return other

    def remove(self, ids: Iterable[str]) -> Removed:
        """Remove photos; unknown ids are ignored. ``put_back`` takes the returned value."""
        gone = set(ids)
        with self._lock:
            entries = self.contents.entries
            self._replace(entry for key, entry in entries.items() if key not in gone)
        return tuple((row, entry) for row, entry in enumerate(entries.values()) if entry.photo.id in gone)

    def put_back(self, removed: Removed) -> None:
        """Put removed photos back in their rows. Photos that were added again meanwhile stay unchanged."""
        with self._lock:
            entries = list(self.contents.entries.values())
            for row, entry in removed:
                if entry.photo.id not in self.contents.entries:
                    entries.insert(row, entry)
            self._replace(entries)

    def _replace(self, entries: Iterable[Entry]) -> None:
        """Set the photos. The caller holds the lock."""
        contents = GalleryPhotos(self.backbone, {entry.photo.id: entry for entry in entries})
        self.contents = replace(contents, read=self.contents.read, captions=self.contents.captions)


def _free_file_name(name: str, taken: Collection[str]) -> str:
    """The name if it is free, else the first free one of "name 2.jpg", "name 3.jpg", …"""
    path = PurePosixPath(name)
    return free_name(path.stem, lambda stem: f"{stem}{path.suffix}".casefold() in taken) + path.suffix
