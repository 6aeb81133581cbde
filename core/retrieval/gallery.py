"""A visitor's photos and captions, with the embeddings that search needs.

The frozen prefix of the image tower runs once for each photo content. Adapters that adapt texts only, or move photos by the
backbone's shared LoRA only, need no more. For any other adapter, the suffix runs again on every photo.
"""

from __future__ import annotations

import math
import sys
import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from itertools import accumulate
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.backbones.base import Backbone
from core.common.errors import GalleryError, StudioError
from core.common.lazy import lazy
from core.common.messages import Message, message
from core.common.metrics import Hits, Relevance, hits
from core.data.captions import match_captions
from core.data.decode import Decoded, Failure, Intake, Source, content_id
from core.data.decode_pool import POOL, Upload
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import embeddings, encoded, photo_rows, text_rows, width
from core.retrieval.index import Hit, Ranking, moves
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.popularity import with_popularity
from core.retrieval.questions import EncodedQuery, Query
from core.retrieval.search import Asked, LikePhoto, PhotoIndexes, Recent, search
from core.retrieval.where import Where, taken_at

__all__ = ["ZERO_SHOT", "Adapter", "AddReport", "Failure", "Gallery", "Hit", "Photo", "Ranking", "moves"]

DEFAULT_LIMIT = 1_000
TEXT_BYTES = 64  # Python's overhead for a string, beside its characters
THUMBNAIL_BYTES = 16_000  # estimate for a detailed photo, used to limit a gallery's memory
CAPTIONED = 2_000  # captions of the first so many captioned photos are used
MOST_TEXTS = 10_000  # captions to rank
CAPTIONS_AT_ONCE = 128
ENCODING = threading.BoundedSemaphore(3)  # uploads that the model encodes at the same time, batch by batch
KEPT_CAPTIONS = 3  # the page compares as many adapters

Progress = Callable[[int, int], object]
Stop = Callable[[], bool]


def never() -> bool:
    """The default ``stop``: work runs to the end."""
    return False


@dataclass(frozen=True)
class Photo:
    id: str  # hash of the file's content
    name: str  # safe file name, unique in the gallery
    thumbnail: bytes = field(repr=False)  # small upright JPEG
    captions: tuple[str, ...] = ()
    taken: date | None = None  # the day from the camera's EXIF data
    folder: str = ""  # its folder inside an added ZIP, beginning with the ZIP's name


@dataclass(frozen=True)
class AddReport:
    added: tuple[Photo, ...]
    duplicates: tuple[str, ...]  # names of files whose content the gallery already has
    failed: tuple[Failure, ...]
    ids: Mapping[int, str] = field(default_factory=dict)  # the photo id of each file, by its number among the files


@dataclass(frozen=True)
class _Entry:
    """A photo, its prefix activations [*prefix_shape], and its index row [w]."""

    photo: Photo
    prefix: Tensor
    row: Tensor

    @property
    def memory(self) -> int:
        texts = sum(len(text) + TEXT_BYTES for text in self.photo.captions)
        return texts + len(self.photo.thumbnail) + self.prefix.nbytes + self.row.nbytes


Removed = tuple[tuple[int, _Entry], ...]  # removed photos, with their rows


@dataclass(frozen=True)
class _Contents:
    """All photos at one moment, by id in order of arrival, and their indexes. Immutable, so readers need no lock. New captions
    replace the entries and keep the indexes."""

    entries: Mapping[str, _Entry]
    indexes: PhotoIndexes

    @lazy
    def photos(self) -> tuple[Photo, ...]:
        return tuple(entry.photo for entry in self.entries.values())

    def among(self, where: Where) -> np.ndarray | None:
        if not where:
            return None
        kept = where.days(np.array([photo.taken for photo in self.photos], "datetime64[D]"))
        if where.folder is not None:
            inside = f"{where.folder.as_posix()}/"
            kept &= np.array([f"{photo.folder}/".startswith(inside) for photo in self.photos], bool)
        return np.flatnonzero(kept)

    @lazy
    def memory(self) -> int:
        return sum(entry.memory for entry in self.entries.values())


class Gallery:
    """Photos, captions and search of one visitor. Thread-safe. ``limit``: the maximum number of photos. ``most_bytes``: the
    maximum memory of these photos."""

    def __init__(self, backbone: Backbone, limit: int = DEFAULT_LIMIT, most_bytes: int = sys.maxsize) -> None:
        self.backbone, self.limit, self.most_bytes = backbone, limit, most_bytes
        self._contents = _Contents({}, PhotoIndexes(backbone, [], []))
        self._texts: Mapping[str, Tensor] = {}  # prefixes of captions; replaced, never changed
        self._rows: Recent[Tensor] = Recent(KEPT_CAPTIONS)  # query rows of captions, by adapter
        self._lock = threading.Lock()  # held briefly, to replace the contents
        self._adding = threading.Lock()  # held while files are added: one batch of files at a time

    @property
    def photos(self) -> tuple[Photo, ...]:
        """All photos, in order of arrival."""
        return self._contents.photos

    @property
    def memory(self) -> int:
        """Bytes of thumbnails, prefix activations, index rows, indexes and captions; without small data such as names."""
        contents, texts = self._contents, sum(prefix.nbytes for prefix in self._texts.values())
        return contents.memory + contents.indexes.nbytes + texts + self._rows.nbytes

    def add(self, sources: Sequence[Source], progress: Progress | None = None, stop: Stop = never) -> AddReport:
        """Add photo files, batch by batch. Each content is added once; the report lists files that cannot be added.

        Args:
            sources: paths, or (name, content or path).
            progress: called with (files done, all files). stop: called before each file; True skips the remaining files.
        """
        added: list[Photo] = []
        decode = partial(POOL.decode, Upload(self.backbone.framing))
        with self._adding:
            intake = Intake(sources, decode, lambda key: key in self._contents.entries, self._room, self._full(), stop)
            for batch in intake.batches():
                with ENCODING:
                    prefixes, rows = encoded(self.backbone, [decoded.photo for decoded in batch])
                added += self._commit(batch, prefixes, rows)
                if progress is not None:
                    progress(intake.done, len(sources))
        if progress is not None:
            progress(len(sources), len(sources))
        return AddReport(tuple(added), tuple(intake.duplicates), tuple(intake.failed), intake.ids)

    def set_captions(self, captions: Mapping[str, Sequence[str]]) -> int:
        """Replace the captions of photos whose file name or stem matches a key, ignoring case. Returns the number of photos."""
        with self._lock:
            photos = self.photos
            matched = match_captions([photo.name for photo in photos], captions)
            changed = [replace(p, captions=texts) for p, texts in zip(photos, matched, strict=True) if texts is not None]
            self._rewrite(changed)
        return len(changed)

    def captioned_as(self, captions: Mapping[str, Sequence[str]]) -> Gallery:
        """A gallery of the same photos, which shares their memory, with other captions."""
        other = Gallery(self.backbone, self.limit, self.most_bytes)
        other._contents = self._contents
        other.set_captions(captions)
        return other

    def take_over(
        self, photos: Sequence[Photo], files: Mapping[str, Path], progress: Progress | None = None
    ) -> tuple[Photo, ...]:
        """Encode photos of another gallery for this backbone. They keep their names, captions and thumbnails.

        ``photos``: of the other gallery. ``files``: their original files, by id. ``progress``: as for ``add``. Returns the
        photos that were not added: their file is missing or unreadable, or the gallery is full.
        """
        if paths := [files[photo.id] for photo in photos if photo.id in files]:
            self.add(paths, progress)
        with self._lock:
            self._rewrite(photos)
            return tuple(photo for photo in photos if photo.id not in self._contents.entries)

    def remove(self, ids: Iterable[str]) -> Removed:
        """Remove photos; unknown ids are ignored. ``put_back`` takes the returned value."""
        gone = set(ids)
        with self._lock:
            entries = self._contents.entries
            self._replace({key: entry for key, entry in entries.items() if key not in gone})
        return tuple((row, entry) for row, entry in enumerate(entries.values()) if entry.photo.id in gone)

    def put_back(self, removed: Removed) -> None:
        """Put removed photos back in their rows. Photos that were added again meanwhile stay unchanged."""
        with self._lock:
            entries = list(self._contents.entries.values())
            for row, entry in removed:
                if entry.photo.id not in self._contents.entries:
                    entries.insert(row, entry)
            self._replace({entry.photo.id: entry for entry in entries})

    def clear(self) -> None:
        """Remove all photos and everything computed for them."""
        with self._lock:
            self._replace({})
        self._texts, self._rows = {}, Recent(KEPT_CAPTIONS)

    def embeddings(self, adapter: Adapter = ZERO_SHOT) -> Tensor:
        """The photos in the shared space, [n, d] float32, unit length, in order. Raises as ``index_for``."""
        index = self.searchable.index_for(adapter)
        return embeddings(self.backbone, index.take(np.arange(len(index))), adapter.lora)

    def captioned(self) -> tuple[tuple[Photo, ...], Tensor]:
        """The first CAPTIONED photos that have captions, and their prefix activations [n, *prefix_shape] float16."""
        entries = [entry for entry in self._contents.entries.values() if entry.photo.captions][:CAPTIONED]
        return tuple(entry.photo for entry in entries), self._stacked(entries)

    def prefixes(self, ids: Iterable[str], library: LibraryPhotos | None = None) -> Tensor:
        """Prefix activations [n, *prefix_shape] float16 of these photos, then those of a library; unknown ids are ignored."""
        ids, entries = list(ids), self._contents.entries
        own = self._stacked([entries[key] for key in ids if key in entries])
        rows = [] if library is None else library.rows(key for key in ids if key not in entries)
        return own if library is None or not rows else torch.cat([own, library.prefixes(rows)])

    def _stacked(self, entries: Sequence[_Entry]) -> Tensor:
        none = torch.empty(0, *self.backbone.prefix_shape, dtype=torch.float16)
        return torch.stack([entry.prefix for entry in entries]) if entries else none

    def text_to_image(self, query: str, adapter: Adapter = ZERO_SHOT, top: int | None = 10) -> Ranking:
        """Rank the photos that fit a query best (``top=None``: all); keys are photo ids. "dog -grass" excludes grass. Raises
        DescriptionError: when the query is invalid. GalleryError: when there are no photos, or ``top`` is below 1."""
        return self.rank(self.question(query), adapter, top)

    def rank(self, question: Asked, adapter: Adapter = ZERO_SHOT, top: int | None = 10, where: Where = Where()) -> Ranking:
        """As ``text_to_image``, for any question. ``where``: a filter; its folder is compared with ``Photo.folder``."""
        contents = self._filled("CORE_TO_SEARCH", top)
        among = contents.among(where)
        best, photos = search(contents.indexes, question, adapter, top, among), contents.photos
        hits = [Hit(photos[row].id, photos[row].name, score, rank) for rank, (row, score) in enumerate(best, 1)]
        return Ranking(tuple(hits), len(contents.entries if among is None else among))

    def among(self, where: Where) -> np.ndarray | None:
        """The rows [k] of the photos that pass the filter, ascending. None: all photos."""
        return self._contents.among(where)

    def image_to_text(
        self, photo: str | Image.Image, adapter: Adapter = ZERO_SHOT, top: int | None = 10, stop: Stop = never
    ) -> Ranking:
        """Rank the gallery's captions that fit a photo best (``top=None``: all); equal captions count once.

        A hit's score is the cosine minus ``popularity``. The captions are those of the first CAPTIONED photos with captions,
        MOST_TEXTS at most. ``photo``: the id of one of ``photos``, or an upright RGB image.

        Raises GalleryError: when there are no photos or captions, the id is unknown, or ``top`` is below 1. StudioError: when
        stopped.
        """
        contents = self._filled("CORE_TO_CAPTION", top)
        texts = tuple(dict.fromkeys(text for photo in _captioned(contents.photos) for text in photo.captions))
        if not texts:
            raise GalleryError("CORE_GALLERY_NO_CAPTIONS")
        if isinstance(photo, str):
            if photo not in contents.entries:
                raise GalleryError("CORE_GALLERY_GONE")
            prefix = contents.entries[photo].prefix[None]
        else:
            prefix = self.backbone.prefix(self.backbone.pixels(photo).unsqueeze(0))
        rows, popular = self._captions_of(contents, texts, adapter, stop)
        scores = rows @ photo_rows(self.backbone, prefix, adapter)[0] - popular
        best = torch.sort(scores, descending=True, stable=True).indices[:top].tolist()
        # The key is a hash: unlike the text, it is safe in a page.
        hits = [Hit(content_id(texts[i].encode()), texts[i], float(scores[i]), rank) for rank, i in enumerate(best, 1)]
        return Ranking(tuple(hits), len(texts))

    def hits(self, adapter: Adapter = ZERO_SHOT, without: Collection[str] = ()) -> dict[str, Hits]:
        """Ranks for recall, {"i2t": …, "t2i": …}: of each photo's captions, and of each caption's photo. ``without``: ids of
        photos to leave out, with their captions. Raises GalleryError: when fewer than two photos have captions."""
        contents = self._contents
        captioned = {photo.id for photo in _captioned(contents.photos, without)}
        rows = [row for row, photo in enumerate(contents.photos) if photo.id in captioned]
        if len(rows) < 2:
            raise GalleryError("CORE_RECALL")
        relevance = Relevance.of([contents.photos[row].captions for row in rows])
        images = contents.indexes.index_for(adapter).take(np.array(rows))
        return hits(*with_popularity(images, *self._captions_of(contents, relevance.texts, adapter)), relevance)

    def read_captions(self, without: Collection[str] = (), progress: Progress | None = None, stop: Stop = never) -> None:
        """Embed the captions for ``hits`` in advance: most of the work of its first call. Raises StudioError: when stopped."""
        if captioned := [photo.captions for photo in _captioned(self.photos, without)]:
            self._text_prefixes(Relevance.of(captioned).texts, progress, stop)

    def _filled(self, purpose: str, top: int | None) -> _Contents:
        contents = self._contents
        if not contents.entries:
            raise GalleryError("CORE_GALLERY_EMPTY", purpose=message(purpose))
        if top is not None and top < 1:
            raise GalleryError("CORE_TOP", top=top)
        return contents

    def _replace(self, entries: Mapping[str, _Entry]) -> None:
        """Set the photos. The caller holds the lock."""
        rows = [entry.row for entry in entries.values()]
        self._contents = _Contents(entries, PhotoIndexes(self.backbone, [entry.prefix for entry in entries.values()], rows))

    def _rewrite(self, photos: Iterable[Photo]) -> None:
        """Replace photos by id; photos not in the gallery are ignored. The caller holds the lock."""
        entries = dict(self._contents.entries)
        entries |= {photo.id: replace(entries[photo.id], photo=photo) for photo in photos if photo.id in entries}
        self._contents = replace(self._contents, entries=entries)

    @property
    def searchable(self) -> PhotoIndexes:
        """The current indexes. Their rows are those of ``photos``."""
        return self._contents.indexes

    def question(self, text: str) -> EncodedQuery:
        """Encode a typed question, for use with any adapter. Raises as ``Query.parse``."""
        return Query.parse([text]).question(self.backbone)

    def like(self, id: str) -> LikePhoto | None:
        """A question for photos similar to one of the photos. None for an unknown id."""
        contents = self._contents
        row = next((row for row, photo in enumerate(contents.photos) if photo.id == id), None)
        return None if row is None else LikePhoto(contents.indexes, row)

    def _captions_of(
        self, contents: _Contents, texts: tuple[str, ...], adapter: Adapter, stop: Stop = never
    ) -> tuple[Tensor, Tensor]:
        """The ``text_rows`` [m, w] of captions with this adapter, and their popularity [m] among the photos."""
        changes_rows = adapter.lora is not None and (adapter.lora.moves_texts or self.backbone.shared is not None)
        rows = self._rows.get(
            (adapter.key if changes_rows else ZERO_SHOT.key, texts),
            lambda: text_rows(self.backbone, self._text_prefixes(texts, stop=stop), adapter),
        )
        return rows, contents.indexes.popularity(adapter, texts, rows)

    def _text_prefixes(self, texts: tuple[str, ...], progress: Progress | None = None, stop: Stop = never) -> Tensor:
        """Text prefixes [n, …] of captions. Only captions that the last call did not have are encoded."""
        prefixes = dict(self._texts)
        new = [text for text in texts if text not in prefixes]
        for start in range(0, len(new), CAPTIONS_AT_ONCE):
            if stop():
                raise StudioError("CORE_READING_STOPPED")
            batch = new[start : start + CAPTIONS_AT_ONCE]
            prefixes |= zip(batch, map(torch.clone, self.backbone.text_prefix(batch)), strict=True)
            if progress is not None:
                progress(len(texts) - len(new) + start + len(batch), len(texts))
        self._texts = {text: prefixes[text] for text in texts}
        return torch.stack(list(self._texts.values()))

    def _room(self) -> int:
        """The number of photos that still fit, by count and by memory."""
        contents = self._contents
        return min(self.limit - len(contents.entries), (self.most_bytes - contents.memory) // self._bytes_a_photo)

    @property
    def _bytes_a_photo(self) -> int:
        return 2 * math.prod(self.backbone.prefix_shape) + 4 * width(self.backbone) + THUMBNAIL_BYTES

    @property
    def holds_at_most(self) -> int:
        """About how many photos fit in an empty gallery, by count and by memory."""
        return min(self.limit, self.most_bytes // self._bytes_a_photo)

    def _full(self) -> Message:
        if self.holds_at_most == self.limit:
            return message("CORE_FULL", most=self.limit)
        return message("CORE_FULL_MEMORY", mb=self.most_bytes // 2**20)

    def _commit(self, batch: Sequence[Decoded], prefixes: Tensor, rows: Tensor) -> list[Photo]:
        with self._lock:
            entries, photos = dict(self._contents.entries), []
            taken = {photo.name.casefold() for photo in self.photos}
            for (key, name, folder, photo), prefix, row in zip(batch, prefixes, rows, strict=True):
                name, when = _unique(name, taken), taken_at(photo.taken)
                taken.add(name.casefold())
                photos.append(Photo(key, name, photo.thumbnail, taken=when and when.date(), folder=folder))
                # Copies: a view of the batch would keep the whole batch in memory.
                entries[key] = _Entry(photos[-1], prefix.clone(), row.clone())
            self._replace(entries)
        return photos


def _captioned(photos: Sequence[Photo], without: Collection[str] = ()) -> list[Photo]:
    """The first photos with captions: CAPTIONED at most, with MOST_TEXTS captions at most."""
    captioned = [photo for photo in photos if photo.captions and photo.id not in without][:CAPTIONED]
    total = list(accumulate(len(photo.captions) for photo in captioned))
    return captioned[: bisect_right(total, MOST_TEXTS)]


def _unique(name: str, taken: set[str]) -> str:
    """The name if it is free, else the first free one of "name (2).jpg", "name (3).jpg", …"""
    path, number, candidate = PurePosixPath(name), 1, name
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{path.stem} ({number}){path.suffix}"
    return candidate
