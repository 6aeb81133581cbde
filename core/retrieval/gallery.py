"""A visitor's photos: what is computed once per photo, what once per adapter, and the search over both.

The frozen prefix of the image tower runs once per photo content. An adapter of texts, or one that changes photos as all others
of its backbone do, then needs nothing of photos; another adapter of photos needs the suffix.
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
from core.common.metrics import Hits, Relevance, hits
from core.data.captions import match_captions
from core.data.decode import Decoded, Failure, Intake, Source, content_id, source_folder
from core.data.decode_pool import POOL, Upload
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import embeddings, encoded, photo_rows, text_rows, width
from core.retrieval.index import Hit, Ranking, moves
from core.retrieval.popularity import with_popularity
from core.retrieval.questions import EncodedQuery, Query
from core.retrieval.search import Asked, LikePhoto, PhotoIndexes, Recent, search
from core.retrieval.where import Where, taken_at

__all__ = ["ZERO_SHOT", "Adapter", "AddReport", "Failure", "Gallery", "Hit", "Photo", "Ranking", "moves"]

DEFAULT_LIMIT = 1_000
TEXT_BYTES = 64  # what Python takes for a text beside its characters
THUMBNAIL_BYTES = 16_000  # about what one of a detailed photo takes, while a gallery's bytes are limited
CAPTIONED = 2_000  # photos whose captions are looked at; of more of them it is the first ones
MOST_TEXTS = 10_000  # captions that are ranked
CAPTIONS_AT_ONCE = 128
ENCODING = threading.BoundedSemaphore(3)  # uploads whose photos the model sees at once, batch by batch
KEPT_CAPTIONS = 3  # the page compares as many adapters

Progress = Callable[[int, int], object]
Stop = Callable[[], bool]


def never() -> bool:
    """Work that nobody stops."""
    return False


@dataclass(frozen=True)
class Photo:
    """One photo of a gallery."""

    id: str  # hash of the file's content
    name: str  # safe file name, unique in the gallery
    thumbnail: bytes = field(repr=False)  # small upright JPEG
    captions: tuple[str, ...] = ()
    taken: date | None = None  # the day on which the camera says that it was
    folder: str = ""  # where it lay in a ZIP, the ZIP's name first


@dataclass(frozen=True)
class AddReport:
    """What became of added files."""

    added: tuple[Photo, ...]
    duplicates: tuple[str, ...]  # names of files that were there already
    failed: tuple[Failure, ...]
    ids: Mapping[int, str] = field(default_factory=dict)  # of the photo that each file is, by its place among the files


@dataclass(frozen=True)
class _Entry:
    """A photo, its prefix activations [*prefix_shape], and what an index holds of it, [w]."""

    photo: Photo
    prefix: Tensor
    row: Tensor


Removed = tuple[tuple[int, _Entry], ...]  # photos that were taken out, and their places


@dataclass(frozen=True)
class _Contents:
    """All photos at one moment, by id in order of arrival, and what search asks. Never changed but replaced, so readers need no
    lock; captions do not change the indexes."""

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
            kept &= [f"{photo.folder}/".startswith(inside) for photo in self.photos]
        return np.flatnonzero(kept)

    @lazy
    def memory(self) -> int:
        texts = sum(len(text) + TEXT_BYTES for photo in self.photos for text in photo.captions)
        return texts + sum(len(e.photo.thumbnail) + e.prefix.nbytes + e.row.nbytes for e in self.entries.values())


class Gallery:
    """Photos, captions and search of one visitor; every method may be called from several threads at once. ``limit``: the most
    photos it takes. ``most_bytes``: the most memory that they may take."""

    def __init__(self, backbone: Backbone, limit: int = DEFAULT_LIMIT, most_bytes: int = sys.maxsize) -> None:
        self.backbone, self.limit, self.most_bytes = backbone, limit, most_bytes
        self._contents = _Contents({}, PhotoIndexes(backbone, [], []))
        self._texts: Mapping[str, Tensor] = {}  # prefixes of captions; replaced, never changed
        self._rows: Recent[Tensor] = Recent(KEPT_CAPTIONS)  # of captions, by adapter
        self._lock = threading.Lock()  # held for moments, to replace the contents
        self._adding = threading.Lock()  # held while files are added: one batch of files at a time

    def copy(self) -> Gallery:
        """The same photos for somebody else. What was computed for them is shared, since it is replaced and never changed."""
        copy = Gallery(self.backbone, self.limit, self.most_bytes)
        copy._contents, copy._texts = self._contents, self._texts
        return copy

    @property
    def photos(self) -> tuple[Photo, ...]:
        """All photos, in order of arrival."""
        return self._contents.photos

    @property
    def memory(self) -> int:
        """Bytes of thumbnails, prefix activations, embeddings, indexes and captions; names and the like are not counted."""
        contents, read = self._contents, sum(prefix.nbytes for prefix in self._texts.values())
        return contents.memory + contents.indexes.nbytes + read + self._rows.nbytes

    def add(self, sources: Sequence[Source], progress: Progress | None = None, stop: Stop = never) -> AddReport:
        """Add photo files, batch by batch; each content goes in once, and files that cannot go in are reported.

        Args:
            sources: paths, or (name, content or path).
            progress: called with (files done, files in all). stop: asked before each file; the rest is then left out.
        """
        added: list[Photo] = []
        decode = partial(POOL.decode, Upload(self.backbone.framing))
        with self._adding:
            intake = Intake(sources, decode, lambda key: key in self._contents.entries, self._room, self._full(), stop)
            for batch in intake.batches():
                with ENCODING:
                    prefixes, rows = encoded(self.backbone, [decoded.photo for decoded in batch])
                added += self._commit(batch, [source_folder(sources[decoded.position]) for decoded in batch], prefixes, rows)
                if progress is not None:
                    progress(intake.done, len(sources))
        if progress is not None:
            progress(len(sources), len(sources))
        return AddReport(tuple(added), tuple(intake.duplicates), tuple(intake.failed), intake.ids)

    def set_captions(self, captions: Mapping[str, Sequence[str]]) -> int:
        """Replace the captions of the photos that a file name or stem matches (case is ignored), and count these photos."""
        with self._lock:
            photos = self.photos
            matched = match_captions([photo.name for photo in photos], captions)
            changed = [replace(p, captions=own) for p, own in zip(photos, matched, strict=True) if own is not None]
            self._rewrite(changed)
        return len(changed)

    def take_over(
        self, photos: Sequence[Photo], files: Mapping[str, Path], progress: Progress | None = None
    ) -> tuple[Photo, ...]:
        """Compute photos of another gallery again, for this backbone; names, captions and thumbnails stay as they are.
        ``photos``: of the other gallery. ``files``: their original files, by id. ``progress``: as for ``add``. Returns the
        photos whose files are missing, cannot be read any more, or have no room."""
        if there := [files[photo.id] for photo in photos if photo.id in files]:
            self.add(there, progress)
        with self._lock:
            self._rewrite(photos)
            return tuple(photo for photo in photos if photo.id not in self._contents.entries)

    def remove(self, ids: Iterable[str]) -> Removed:
        """Take photos out; ids that are not there are ignored. The answer is for ``put_back``."""
        gone = set(ids)
        with self._lock:
            entries = self._contents.entries
            self._replace({key: entry for key, entry in entries.items() if key not in gone})
        return tuple((place, entry) for place, entry in enumerate(entries.values()) if entry.photo.id in gone)

    def put_back(self, removed: Removed) -> None:
        """Put photos back where they were; those that are there again by now stay as they are."""
        with self._lock:
            entries = list(self._contents.entries.values())
            for place, entry in removed:
                if entry.photo.id not in self._contents.entries:
                    entries.insert(place, entry)
            self._replace({entry.photo.id: entry for entry in entries})

    def clear(self) -> None:
        """Take every photo out and forget what was computed for them."""
        with self._lock:
            self._replace({})
        self._texts, self._rows = {}, Recent(KEPT_CAPTIONS)

    def embeddings(self, adapter: Adapter = ZERO_SHOT) -> Tensor:
        """The photos in the shared space, [n, d] float32 of unit length, in their order; raises as ``index_for``."""
        index = self.searchable.index_for(adapter)
        return embeddings(self.backbone, index.take(np.arange(len(index))), adapter.lora)

    def captioned(self) -> tuple[tuple[Photo, ...], Tensor]:
        """The first CAPTIONED photos that have captions, and their prefix activations [n, *prefix_shape] float16."""
        entries = [entry for entry in self._contents.entries.values() if entry.photo.captions][:CAPTIONED]
        return tuple(entry.photo for entry in entries), self._stacked(entries)

    def prefixes(self, ids: Iterable[str]) -> Tensor:
        """Prefix activations [n, *prefix_shape] float16 of these photos; ids that are not there are ignored."""
        entries = self._contents.entries
        return self._stacked([entries[key] for key in ids if key in entries])

    def _stacked(self, entries: Sequence[_Entry]) -> Tensor:
        none = torch.empty(0, *self.backbone.prefix_shape, dtype=torch.float16)
        return torch.stack([entry.prefix for entry in entries]) if entries else none

    def text_to_image(self, query: str, adapter: Adapter = ZERO_SHOT, top: int | None = 10) -> Ranking:
        """The photos that fit a query best (``top=None``: all); keys are photo ids. "dog -grass" says what not to look for.
        Raises DescriptionError: an unusable query. GalleryError: no photos, or ``top`` below 1."""
        return self.rank(self.question(query), adapter, top)

    def rank(self, question: Asked, adapter: Adapter = ZERO_SHOT, top: int | None = 10, where: Where = Where()) -> Ranking:
        """As ``text_to_image``, for any question. ``where``: which photos may be answers, by the folders of ``Photo``."""
        contents = self._filled("search them", top)
        among = contents.among(where)
        best = search(contents.indexes, question, adapter, top, among)
        photos = [contents.photos[place] for place, _ in best]
        hits = [Hit(photo.id, photo.name, best[i][1], i + 1) for i, photo in enumerate(photos)]
        return Ranking(tuple(hits), len(contents.entries if among is None else among))

    def among(self, where: Where) -> np.ndarray | None:
        """The places [k] of the photos that may be answers, ascending; None: all of them."""
        return self._contents.among(where)

    def image_to_text(
        self, photo: str | Image.Image, adapter: Adapter = ZERO_SHOT, top: int | None = 10, stop: Stop = never
    ) -> Ranking:
        """The gallery's captions that fit a photo best (``top=None``: all of them); equal captions count once.

        What makes a caption fit every photo is subtracted before they are ranked (``popularity``); their scores are cosines.
        They are those of the first CAPTIONED photos that have some, MOST_TEXTS at most. ``photo``: the id of one of ``photos``,
        or an upright RGB image. Raises GalleryError: no photos, no captions, an unknown id. StudioError: it was stopped.
        """
        contents = self._filled("find their captions", top)
        texts = tuple(dict.fromkeys(text for photo in _captioned(contents.photos) for text in photo.captions))
        if not texts:
            raise GalleryError("No photo has captions yet: add a captions file or type captions first.")
        if isinstance(photo, str):
            if photo not in contents.entries:
                raise GalleryError("This photo is not in the gallery (any more): choose another one.")
            prefix = contents.entries[photo].prefix[None]
        else:
            prefix = self.backbone.prefix(self.backbone.pixels(photo).unsqueeze(0))
        rows, popular = self._captions_of(contents, texts, adapter, stop)
        scores = rows @ photo_rows(self.backbone, prefix, adapter)[0]
        best = torch.sort(scores - popular, descending=True, stable=True).indices[:top].tolist()
        # A key is safe to use in a page, unlike the text.
        hits = [Hit(content_id(texts[i].encode()), texts[i], float(scores[i]), rank) for rank, i in enumerate(best, 1)]
        return Ranking(tuple(hits), len(texts))

    def hits(self, adapter: Adapter = ZERO_SHOT, without: Collection[str] = ()) -> dict[str, Hits]:
        """Where each captioned photo's captions and each caption's photo rank, {"i2t": …, "t2i": …}: what recall counts.
        ``without``: ids of photos that are left out, with their captions. Raises GalleryError: fewer than two photos have
        captions."""
        contents = self._contents
        captioned = {photo.id for photo in _captioned(contents.photos, without)}
        places = [place for place, photo in enumerate(contents.photos) if photo.id in captioned]
        if len(places) < 2:
            raise GalleryError("Recall needs at least two photos with captions: add a captions file or type captions.")
        relevance = Relevance.of([contents.photos[place].captions for place in places])
        images = contents.indexes.index_for(adapter).take(np.array(places))
        return hits(*with_popularity(images, *self._captions_of(contents, relevance.texts, adapter)), relevance)

    def read_captions(self, without: Collection[str] = (), progress: Progress | None = None, stop: Stop = never) -> None:
        """Embed the captions that ``hits`` asks, which is most of its work when it is called first; StudioError where it was
        stopped."""
        if captioned := [photo.captions for photo in _captioned(self.photos, without)]:
            self._text_prefixes(Relevance.of(captioned).texts, progress, stop)

    def _filled(self, purpose: str, top: int | None) -> _Contents:
        contents = self._contents
        if not contents.entries:
            raise GalleryError(f"There are no photos yet: add some, or take the sample photos, to {purpose}.")
        if top is not None and top < 1:
            raise GalleryError(f"{top} results were asked for: at least one is needed.")
        return contents

    def _replace(self, entries: Mapping[str, _Entry]) -> None:
        """Set the photos; the caller holds the lock."""
        rows = [entry.row for entry in entries.values()]
        self._contents = _Contents(entries, PhotoIndexes(self.backbone, [entry.prefix for entry in entries.values()], rows))

    def _rewrite(self, photos: Iterable[Photo]) -> None:
        """Change what is known of photos, as far as they are there; the caller holds the lock."""
        entries = dict(self._contents.entries)
        entries |= {photo.id: replace(entries[photo.id], photo=photo) for photo in photos if photo.id in entries}
        self._contents = replace(self._contents, entries=entries)

    @property
    def searchable(self) -> PhotoIndexes:
        """What search asks, for the photos of this moment; its places are those of ``photos``."""
        return self._contents.indexes

    def question(self, text: str) -> EncodedQuery:
        """The question that was typed, for all adapters; raises as ``Query.parse``."""
        return Query.parse([text]).question(self.backbone)

    def like(self, id: str) -> LikePhoto | None:
        """What is like one of the photos; None where it is not there."""
        contents = self._contents
        place = next((place for place, photo in enumerate(contents.photos) if photo.id == id), None)
        return None if place is None else LikePhoto(contents.indexes, place)

    def _captions_of(
        self, contents: _Contents, texts: tuple[str, ...], adapter: Adapter, stop: Stop = never
    ) -> tuple[Tensor, Tensor]:
        """Captions as this adapter reads them, [m, w] of ``text_rows``, and their popularity [m] among the photos it sees."""
        reads = adapter.lora is not None and (adapter.lora.moves_texts or self.backbone.shared is not None)
        rows = self._rows.get(
            (adapter.key if reads else ZERO_SHOT.key, texts),
            lambda: text_rows(self.backbone, self._text_prefixes(texts, stop=stop), adapter),
        )
        return rows, contents.indexes.popularity(adapter, texts, rows)

    def _text_prefixes(self, texts: tuple[str, ...], progress: Progress | None = None, stop: Stop = never) -> Tensor:
        """[n, …] of captions; only those that were not there the last time are encoded."""
        known = dict(self._texts)
        new = [text for text in texts if text not in known]
        for start in range(0, len(new), CAPTIONS_AT_ONCE):
            if stop():
                raise StudioError("Reading the captions was stopped.")
            some = new[start : start + CAPTIONS_AT_ONCE]
            known |= zip(some, map(torch.clone, self.backbone.text_prefix(some)), strict=True)
            if progress is not None:
                progress(len(texts) - len(new) + start + len(some), len(texts))
        self._texts = {text: known[text] for text in texts}
        return torch.stack(list(self._texts.values()))

    def _room(self) -> int:
        """How many more photos fit, by their number and by their bytes."""
        contents = self._contents
        return min(self.limit - len(contents.entries), (self.most_bytes - contents.memory) // self._bytes_a_photo)

    @property
    def _bytes_a_photo(self) -> int:
        return 2 * math.prod(self.backbone.prefix_shape) + 4 * width(self.backbone) + THUMBNAIL_BYTES

    @property
    def holds_at_most(self) -> int:
        """About how many photos it takes, by their number and by their bytes."""
        return min(self.limit, self.most_bytes // self._bytes_a_photo)

    def _full(self) -> str:
        if self.holds_at_most == self.limit:
            return f"the gallery is full: it takes at most {self.limit:,} photos."
        return f"the gallery is full: its photos take at most {self.most_bytes // 2**20:,} MB of memory."

    def _commit(self, batch: Sequence[Decoded], folders: Sequence[str], prefixes: Tensor, rows: Tensor) -> list[Photo]:
        """Put photos in, with names that are unique."""
        with self._lock:
            entries, photos = dict(self._contents.entries), []
            taken = {photo.name.casefold() for photo in self.photos}
            for (_, key, name, photo), folder, prefix, row in zip(batch, folders, prefixes, rows, strict=True):
                name, when = _unique(name, taken), taken_at(photo.taken)
                taken.add(name.casefold())
                photos.append(Photo(key, name, photo.thumbnail, taken=when and when.date(), folder=folder))
                # A copy, because a row of the batch would keep the whole batch in memory.
                entries[key] = _Entry(photos[-1], prefix.clone(), row.clone())
            self._replace(entries)
        return photos


def _captioned(photos: Sequence[Photo], without: Collection[str] = ()) -> list[Photo]:
    """The first CAPTIONED photos that have captions, as far as their captions are MOST_TEXTS at most."""
    captioned = [photo for photo in photos if photo.captions and photo.id not in without][:CAPTIONED]
    total = list(accumulate(len(photo.captions) for photo in captioned))
    return captioned[: bisect_right(total, MOST_TEXTS)]


def _unique(name: str, taken: set[str]) -> str:
    """The name, or the first of "name (2).jpg", "name (3).jpg", … that is free."""
    path, number, candidate = PurePosixPath(name), 1, name
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{path.stem} ({number}){path.suffix}"
    return candidate
