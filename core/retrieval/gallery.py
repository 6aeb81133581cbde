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
from itertools import accumulate, takewhile
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.backbones.base import Backbone
from core.common.errors import GalleryError, PhotoError, StudioError
from core.common.lazy import lazy
from core.common.messages import Message, message
from core.common.metrics import Hits, Relevance, hits
from core.common.text import free_name, safe_name
from core.data.captions import match_captions
from core.data.decode import Failure, Read, Source, content_id, read_photo, source_folder
from core.data.decode_pool import DecodedPhoto, Upload
from core.data.image_io import photo_error, reason_of
from core.data.read_ahead import read_ahead
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import embeddings, photo_rows, text_rows, width
from core.retrieval.encoding import Outcome, encode
from core.retrieval.index import Hit, Ranking, moves
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.popularity import popularity, spread_rows, with_popularity
from core.retrieval.questions import Query
from core.retrieval.search import PhotoIndexes, Recent, Where, search

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
    added: list[Photo] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)  # names of files whose content the gallery already has
    failed: list[Failure] = field(default_factory=list)
    ids: dict[int, str] = field(default_factory=dict)  # the photo id of each file, by its place among the files


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
class Contents:
    """All photos at one moment, by id in order of arrival, and their indexes. Immutable, so readers need no lock. New captions
    replace the entries and keep the indexes."""

    entries: Mapping[str, _Entry]
    indexes: PhotoIndexes

    @lazy
    def photos(self) -> tuple[Photo, ...]:
        return tuple(entry.photo for entry in self.entries.values())

    def among(self, where: Where) -> np.ndarray | None:
        """The rows [k] of the photos that pass the filter, ascending; its folder is compared with ``Photo.folder``. None: all
        photos."""
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
        self.clear()
        self._lock = threading.Lock()  # held briefly, to replace the contents
        self._adding = threading.Lock()  # held while files are added: one batch of files at a time

    def clear(self) -> None:
        """Remove all photos and everything computed for them."""
        self._replace({})
        self._texts: Mapping[str, Tensor] = {}  # prefixes of captions; replaced, never changed
        self._rows: Recent[Tensor] = Recent(KEPT_CAPTIONS)  # query rows of captions, by adapter

    @property
    def photos(self) -> tuple[Photo, ...]:
        """All photos, in order of arrival."""
        return self.contents.photos

    @property
    def searchable(self) -> PhotoIndexes:
        """The current indexes. Their rows are those of ``photos``."""
        return self.contents.indexes

    @property
    def memory(self) -> int:
        """Bytes of thumbnails, prefix activations, index rows, indexes and captions; without small data such as names."""
        contents = self.contents
        texts = sum(tensor.nbytes for tensor in (*self._texts.values(), *self._rows.values))
        return contents.memory + contents.indexes.nbytes + texts

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
            return message("CORE_FULL", most=self.limit)
        if memory + self._bytes_a_photo > self.most_bytes:
            return message("CORE_FULL_MEMORY", mb=self.most_bytes // 2**20)
        return None

    def add(self, sources: Sequence[Source], progress: Progress | None = None, stop: Stop = never) -> AddReport:
        """Add photo files, batch by batch. Each content is added once; the report lists files that cannot be added.

        Args:
            sources: paths, or (name, content or path).
            progress: called with (files done, all files). stop: called before each file is read; True skips the remaining ones.
        """
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
                self._commit(outcomes, [name for name, _ in files], report)
                if progress is not None:
                    progress(batch[-1][0] + 1, len(files))
        return report

    def _commit(self, outcomes: Iterable[tuple[int, Outcome]], names: Sequence[str], report: AddReport) -> None:
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
                    photo = Photo(outcome.id, name, outcome.thumbnail, taken=day, folder=source_folder(names[place]))
                    entries[photo.id] = entry = _Entry(photo, outcome.prefix, outcome.row)
                    memory += entry.memory
                    taken.add(name.casefold())
                    report.added.append(photo)
                    report.ids[place] = photo.id
            self._replace(entries)

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
        other.contents = self.contents
        other.set_captions(captions)
        return other

    def remove(self, ids: Iterable[str]) -> Removed:
        """Remove photos; unknown ids are ignored. ``put_back`` takes the returned value."""
        gone = set(ids)
        with self._lock:
            entries = self.contents.entries
            self._replace({key: entry for key, entry in entries.items() if key not in gone})
        return tuple((row, entry) for row, entry in enumerate(entries.values()) if entry.photo.id in gone)

    def put_back(self, removed: Removed) -> None:
        """Put removed photos back in their rows. Photos that were added again meanwhile stay unchanged."""
        with self._lock:
            entries = list(self.contents.entries.values())
            for row, entry in removed:
                if entry.photo.id not in self.contents.entries:
                    entries.insert(row, entry)
            self._replace({entry.photo.id: entry for entry in entries})

    def _replace(self, entries: Mapping[str, _Entry]) -> None:
        """Set the photos. The caller holds the lock."""
        rows = [entry.row for entry in entries.values()]
        self.contents = Contents(entries, PhotoIndexes(self.backbone, [entry.prefix for entry in entries.values()], rows))

    def embeddings(self, adapter: Adapter = ZERO_SHOT) -> Tensor:
        """The photos in the shared space, [n, d] float32, unit length, in order. Raises as ``index_for``."""
        index = self.searchable.index_for(adapter)
        return embeddings(self.backbone, index.take(np.arange(len(index))), adapter.lora)

    def captioned(self) -> tuple[list[Photo], Tensor]:
        """The captioned photos of ``image_to_text``, and their prefix activations [n, *prefix_shape] float16."""
        photos = _captioned(self.photos)
        return photos, self.prefixes(photo.id for photo in photos)

    def prefixes(self, ids: Iterable[str], library: LibraryPhotos | None = None) -> Tensor:
        """Prefix activations [n, *prefix_shape] float16 of these photos, then those of a library; unknown ids are ignored."""
        ids, entries = list(ids), self.contents.entries
        none = torch.empty(0, *self.backbone.prefix_shape, dtype=torch.float16)
        own = [entries[key].prefix[None] for key in ids if key in entries]
        rows = [] if library is None else library.rows(key for key in ids if key not in entries)
        return torch.cat([none, *own, *([library.prefixes(rows)] if library is not None and rows else [])])

    def text_to_image(self, query: str, adapter: Adapter = ZERO_SHOT, top: int | None = 10) -> Ranking:
        """Rank the photos that fit a query best (``top=None``: all); keys are photo ids. "dog -grass" excludes grass. Raises
        DescriptionError: when the query is invalid."""
        contents = self.contents
        best = search(contents.indexes, Query.parse([query]).question(self.backbone), adapter, top)
        found = [(contents.photos[row], score) for row, score in best]
        hits = [Hit(photo.id, photo.name, score, rank) for rank, (photo, score) in enumerate(found, 1)]
        return Ranking(tuple(hits), len(contents.photos))

    def image_to_text(
        self, photo: str | Image.Image, adapter: Adapter = ZERO_SHOT, top: int | None = 10, stop: Stop = never
    ) -> Ranking:
        """Rank the gallery's captions that fit a photo best (``top=None``: all); equal captions count once.

        A hit's score is the cosine minus ``popularity``. The captions are those of the first CAPTIONED photos with captions,
        MOST_TEXTS at most. ``photo``: the id of one of ``photos``, or an upright RGB image.

        Raises GalleryError: when there are no captions, or the id is unknown. StudioError: when stopped.
        """
        contents = self.contents
        texts = tuple(dict.fromkeys(text for photo in _captioned(contents.photos) for text in photo.captions))
        if not texts:
            raise GalleryError("CORE_GALLERY_NO_CAPTIONS")
        if isinstance(photo, str):
            if photo not in contents.entries:
                raise GalleryError("CORE_GALLERY_GONE")
            prefix = contents.entries[photo].prefix[None]
        else:
            prefix = self.backbone.prefix(self.backbone.pixels(photo).unsqueeze(0))
        rows, popular = self._captions_of(contents, texts, adapter, None, stop)
        scores = rows @ photo_rows(self.backbone, prefix, adapter)[0] - popular
        return ranked_captions(texts, scores, top)

    def hits(
        self,
        adapter: Adapter = ZERO_SHOT,
        without: Collection[str] = (),
        progress: Progress | None = None,
        stop: Stop = never,
    ) -> dict[str, Hits]:
        """Ranks for recall, {"i2t": …, "t2i": …}: of each photo's captions, and of each caption's photo. ``without``: ids of
        photos to leave out, with their captions. Raises GalleryError: when fewer than two photos have captions. StudioError:
        when stopped while captions are read."""
        contents = self.contents
        captioned = {photo.id for photo in _captioned(contents.photos, without)}
        rows = [row for row, photo in enumerate(contents.photos) if photo.id in captioned]
        if len(rows) < 2:
            raise GalleryError("CORE_RECALL")
        relevance = Relevance.of([contents.photos[row].captions for row in rows])
        images = contents.indexes.index_for(adapter).take(np.array(rows))
        return hits(*with_popularity(images, *self._captions_of(contents, relevance.texts, adapter, progress, stop)), relevance)

    def _captions_of(
        self, contents: Contents, texts: tuple[str, ...], adapter: Adapter, progress: Progress | None, stop: Stop
    ) -> tuple[Tensor, Tensor]:
        """The ``text_rows`` [m, w] of captions with this adapter, and their popularity [m] among the photos."""
        rows = self._rows.get(
            (adapter.key, texts), lambda: text_rows(self.backbone, self._text_prefixes(texts, progress, stop), adapter)
        )
        index = contents.indexes.index_for(adapter)
        return rows, popularity(index.take(spread_rows(len(index))), rows)

    def _text_prefixes(self, texts: tuple[str, ...], progress: Progress | None, stop: Stop) -> Tensor:
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


def ranked_captions(texts: tuple[str, ...], scores: Tensor, top: int | None = None) -> Ranking:
    """Captions by their scores [m], best first. The key is a hash: unlike the text, it is safe in a page."""
    best = torch.sort(scores, descending=True, stable=True).indices[:top].tolist()
    hits = [Hit(content_id(texts[i].encode()), texts[i], float(scores[i]), rank) for rank, i in enumerate(best, 1)]
    return Ranking(tuple(hits), len(texts))


def _captioned(photos: Sequence[Photo], without: Collection[str] = ()) -> list[Photo]:
    """The first photos with captions: CAPTIONED at most, with MOST_TEXTS captions at most."""
    captioned = [photo for photo in photos if photo.captions and photo.id not in without][:CAPTIONED]
    total = list(accumulate(len(photo.captions) for photo in captioned))
    return captioned[: bisect_right(total, MOST_TEXTS)]


def _free_file_name(name: str, taken: Collection[str]) -> str:
    """The name if it is free, else the first free one of "name 2.jpg", "name 3.jpg", …"""
    path = PurePosixPath(name)
    return free_name(path.stem, lambda stem: f"{stem}{path.suffix}".casefold() in taken) + path.suffix
