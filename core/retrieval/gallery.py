"""A visitor's photos: what is computed once per photo, what once per adapter, and the search over both.

The frozen prefix of the image tower runs once per photo content. An adapter of texts, or one that changes photos as all others
of its backbone do, then needs nothing of photos; another adapter of photos needs the suffix. An index belongs to one (photo
set, model, adapter) and is kept under all three, so that a stale one cannot be used.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
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
from core.data.captions import clean_captions, match_captions
from core.data.decode import Decoded, Failure, Intake, Source, content_id, frames, source_folder
from core.data.decode_pool import POOL
from core.data.image_io import upright_rgb
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import embeddings, photo_rows, text_rows, width
from core.retrieval.index import Hit, Ranking, moves
from core.retrieval.popularity import popularity, spread_places, with_popularity
from core.retrieval.questions import EncodedQuery, Query
from core.retrieval.search import Asked, LikePhoto, PhotoIndexes, search
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


@dataclass(frozen=True)
class Photo:
    """One photo of a gallery.

    Attributes:
        id: hash of the file's content.
        name: safe file name, unique in the gallery.
        thumbnail: small upright JPEG.
        captions: possibly none.
        taken: the day on which the camera says that it was. folder: where it lay in a ZIP, the ZIP's name first; or "".
    """

    id: str
    name: str
    thumbnail: bytes = field(repr=False)
    captions: tuple[str, ...] = ()
    taken: date | None = None
    folder: str = ""


@dataclass(frozen=True)
class AddReport:
    """What became of added files.

    Attributes:
        added: new photos. duplicates: names of files that were there already. failed: the others.
        ids: of the photo that each file is, by its place among the files.
    """

    added: tuple[Photo, ...]
    duplicates: tuple[str, ...]
    failed: tuple[Failure, ...]
    ids: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Entry:
    """A photo, its prefix activations [*prefix_shape], and what an index holds of it, [w]."""

    photo: Photo
    prefix: Tensor
    row: Tensor


Removed = tuple[tuple[int, _Entry], ...]  # photos that were taken out, and their places


@dataclass(frozen=True)
class _Contents:
    """All photos at one moment, by id in order of arrival. Never changed but replaced, so readers need no lock."""

    entries: Mapping[str, _Entry] = field(default_factory=dict)
    version: int = 0  # of the photo set; captions do not change embeddings

    @lazy
    def photos(self) -> tuple[Photo, ...]:
        return tuple(entry.photo for entry in self.entries.values())

    def among(self, where: Where) -> np.ndarray | None:
        """As ``Gallery.among``."""
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


@dataclass(frozen=True)
class _Captions:
    """Captions as an adapter reads them.

    Attributes:
        rows: [m, w], as ``columns.text_rows`` makes them. popularity: [m] among the gallery's photos.
    """

    rows: Tensor
    popularity: Tensor

    def search(self, photo: Tensor) -> list[tuple[int, float]]:
        """All captions as (row, score), best for a photo [w] first; equally good ones in order."""
        scores = self.rows @ photo
        order = torch.sort(scores - self.popularity, descending=True, stable=True).indices
        return list(zip(order.tolist(), scores[order].tolist(), strict=True))


class Gallery:
    """Photos, captions and search of one visitor; every method may be called from several threads at once.

    Args:
        backbone: the image-text model.
        limit: the most photos it takes. most_bytes: the most memory that they may take; None: as much as they need.
    """

    def __init__(self, backbone: Backbone, limit: int = DEFAULT_LIMIT, most_bytes: int | None = None) -> None:
        self.backbone = backbone
        self.limit, self.most_bytes = limit, most_bytes
        self._contents = _Contents()
        self._indexes: tuple[int, PhotoIndexes] | None = None  # of the photo set of a version
        self._texts: tuple[tuple[str, ...], Tensor] | None = None  # captions and their sentence embeddings
        self._rows: _Cache = {}  # of captions, by adapter
        self._popular: _Cache = {}  # popularity of captions among the photos of a version, by adapter
        self._lock = threading.Lock()  # held for moments, to replace the contents or touch a cache
        self._adding = threading.Lock()  # held while files are added: one batch of files at a time

    def copy(self) -> Gallery:
        """The same photos for somebody else. What was computed for them is shared, since it is replaced and never changed."""
        copy = Gallery(self.backbone, self.limit, self.most_bytes)
        with self._lock:
            copy._contents, copy._indexes, copy._texts = self._contents, self._indexes, self._texts
            copy._rows, copy._popular = dict(self._rows), dict(self._popular)
        return copy

    @property
    def photos(self) -> tuple[Photo, ...]:
        """All photos, in order of arrival."""
        return self._contents.photos

    @property
    def memory(self) -> int:
        """Bytes of thumbnails, prefix activations, embeddings, indexes and captions; names and the like are not counted."""
        indexes, texts = self._indexes, self._texts
        captions = [kept for _, kept in [*self._rows.values(), *self._popular.values()]]
        read = (0 if texts is None else texts[1].nbytes) + sum(kept.nbytes for kept in captions)
        return self._contents.memory + read + (0 if indexes is None else indexes[1].nbytes)

    def add(
        self,
        sources: Sequence[Source],
        captions: Mapping[str, Sequence[str]] | None = None,
        progress: Callable[[int, int], object] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> AddReport:
        """Add photo files; each content goes in once, files that cannot go in are reported, and the rest goes in.

        Photos go in batch by batch: what is in stays in, whatever happens to the rest.

        Args:
            sources: paths, or (name, content or path).
            captions: by file name or stem, as in ``set_captions``; a duplicate's captions join those of its photo.
            progress: called with (files done, files in all).
            stop: asked before each file; once it says so, the rest is left out.
        """
        with self._adding, POOL.upload(self.backbone.framing) as upload:
            intake = Intake(sources, upload, lambda key: key in self._contents.entries, self._room, self._full(), stop)
            matched = [texts or () for texts in match_captions(intake.names, captions or {})]
            folders = [source_folder(source) for source in sources]
            added: list[Photo] = []
            ids: dict[int, str] = {}
            for batch in intake.batches():
                seen = frames([decoded.photo for decoded in batch], self.backbone.framing)
                with ENCODING:
                    prefixes = self.backbone.prefix(self.backbone.normalised(seen))
                    rows = photo_rows(self.backbone, prefixes)
                ids |= {decoded.position: decoded.id for decoded in batch}
                added += self._commit(batch, prefixes, rows, matched, folders)
                if progress is not None:
                    progress(intake.done, len(sources))
            for position, key in intake.duplicates():
                if matched[position]:
                    self._join_captions(key, matched[position])
        if progress is not None:
            progress(len(sources), len(sources))
        duplicates = tuple(intake.names[position] for position, _ in intake.duplicates())
        entries = self._contents.entries
        current = tuple(entries[photo.id].photo if photo.id in entries else photo for photo in added)
        return AddReport(current, duplicates, intake.failures(), {**ids, **dict(intake.duplicates())})

    def set_captions(self, captions: Mapping[str, Sequence[str]]) -> int:
        """Replace the captions of the photos that a file name or stem matches (case is ignored).

        Returns:
            How many photos were matched.
        """
        with self._lock:
            entries = dict(self._contents.entries)
            matched = match_captions([e.photo.name for e in entries.values()], captions)
            for (key, entry), texts in zip(self._contents.entries.items(), matched, strict=True):
                if texts is not None:
                    entries[key] = replace(entry, photo=replace(entry.photo, captions=texts))
            self._contents = replace(self._contents, entries=entries)
        return sum(texts is not None for texts in matched)

    def take_over(
        self,
        photos: Sequence[Photo],
        files: Mapping[str, Path],
        progress: Callable[[int, int], object] | None = None,
    ) -> tuple[Photo, ...]:
        """Compute photos of another gallery again, for this backbone; names, captions and thumbnails stay as they are.

        Args:
            photos: of the other gallery. files: their original files, by id.
            progress: as for ``add``.

        Returns:
            The photos whose files are missing, cannot be read any more, or have no room.
        """
        there = [photo for photo in photos if photo.id in files]
        if there:
            self.add([files[photo.id] for photo in there], None, progress)
        known = {photo.id: photo for photo in photos}
        with self._lock:
            entries = dict(self._contents.entries)
            for key in entries.keys() & known.keys():
                entries[key] = replace(entries[key], photo=known[key])
            self._replace(entries)
        return tuple(photo for photo in photos if photo.id not in entries)

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
            self._texts = None
            self._rows, self._popular = {}, {}

    def embeddings(self, adapter: Adapter = ZERO_SHOT) -> Tensor:
        """The photos in the shared space, [n, d] float32 of unit length, in the order of ``photos``.

        Raises:
            AdapterError: the adapter turns photos into NaN or infinite numbers.
        """
        rows = self._indexes_of(self._contents).index_for(adapter).rows
        return embeddings(self.backbone, rows, adapter.lora).clone()

    def captioned(self) -> tuple[tuple[Photo, ...], Tensor]:
        """The first CAPTIONED photos that have captions, and their prefix activations [n, *prefix_shape] float16."""
        entries = [entry for entry in self._contents.entries.values() if entry.photo.captions][:CAPTIONED]
        prefixes = [entry.prefix for entry in entries]
        stacked = torch.stack(prefixes) if prefixes else torch.empty(0, *self.backbone.prefix_shape, dtype=torch.float16)
        return tuple(entry.photo for entry in entries), stacked

    def prefixes(self, ids: Iterable[str]) -> Tensor:
        """Prefix activations [n, *prefix_shape] float16 of these photos; ids that are not there are ignored."""
        entries = self._contents.entries
        found = [entries[key].prefix for key in ids if key in entries]
        return torch.stack(found) if found else torch.empty(0, *self.backbone.prefix_shape, dtype=torch.float16)

    def text_to_image(self, query: str, adapter: Adapter = ZERO_SHOT, top: int | None = 10) -> Ranking:
        """The photos that fit a query best (``top=None``: all); keys are photo ids. "dog -grass" says what not to look for.

        Raises:
            DescriptionError: an unusable query.
            GalleryError: no photos, or ``top`` below 1.
        """
        return self.rank(self.question(query), adapter, top)

    def rank(self, question: Asked, adapter: Adapter = ZERO_SHOT, top: int | None = 10, where: Where = Where()) -> Ranking:
        """As ``text_to_image``, for any question. ``where``: which photos may be answers, by the folders of ``Photo``.

        Raises:
            GalleryError: no photos, or ``top`` below 1.
        """
        contents = self._filled("search them", top)
        among = contents.among(where)
        best = search(self._indexes_of(contents), question, adapter, top, among)
        photos = [contents.photos[place] for place, _ in best]
        hits = [Hit(photo.id, photo.name, best[i][1], i + 1) for i, photo in enumerate(photos)]
        return Ranking(tuple(hits), len(contents.entries if among is None else among))

    def among(self, where: Where) -> np.ndarray | None:
        """The places [k] of the photos that may be answers, ascending; None: all of them."""
        return self._contents.among(where)

    def image_to_text(
        self,
        photo: str | Image.Image,
        adapter: Adapter = ZERO_SHOT,
        top: int | None = 10,
        stop: Callable[[], bool] = lambda: False,
    ) -> Ranking:
        """The gallery's captions that fit a photo best (``top=None``: all of them); equal captions count once.

        What makes a caption fit every photo is subtracted before they are ranked (``popularity``); their scores are cosines.
        They are those of the first CAPTIONED photos that have some, MOST_TEXTS at most.

        Args:
            photo: the id of one of ``photos``, or any image.
            stop: whether the visitor left; asked while captions are read.

        Raises:
            GalleryError: no photos, no captions, an unknown id, ``top`` below 1, or it was stopped.
            PhotoError: the image is damaged or too large.
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
            prefix = self.backbone.prefix(self.backbone.pixels(upright_rgb(photo)).unsqueeze(0))
        best = self._captions_of(contents, texts, adapter, stop).search(photo_rows(self.backbone, prefix, adapter)[0])[:top]
        # A key is safe to use in a page, unlike the text.
        hits = [Hit(content_id(texts[row].encode()), texts[row], score, rank) for rank, (row, score) in enumerate(best, 1)]
        return Ranking(tuple(hits), len(texts))

    def hits(self, adapter: Adapter = ZERO_SHOT, without: Collection[str] = ()) -> dict[str, Hits]:
        """Where each captioned photo's captions and each caption's photo rank, {"i2t": …, "t2i": …}: what recall counts.

        Args:
            adapter: how the photos are seen. without: ids of photos that are left out, with their captions.

        Raises:
            GalleryError: fewer than two photos have captions.
        """
        return hits(*self._evaluation(adapter, without))

    def read_captions(
        self,
        without: Collection[str] = (),
        progress: Callable[[int, int], object] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Embed the captions that ``hits`` asks, which is most of its work when it is called first.

        Args:
            without: as for ``hits``. progress: called with (captions done, captions in all).
            stop: as for ``image_to_text``.

        Raises:
            StudioError: it was stopped.
        """
        captioned = [photo.captions for photo in _captioned(self.photos, without)]
        if captioned:
            self._text_prefixes(Relevance.of(captioned).texts, progress, stop)

    def _evaluation(self, adapter: Adapter, without: Collection[str] = ()) -> tuple[Tensor, Tensor, Relevance]:
        """The photos that have captions as this adapter sees them, the captions, and which belong together."""
        contents = self._contents
        places = {photo.id: row for row, photo in enumerate(contents.photos)}
        rows = [places[photo.id] for photo in _captioned(contents.photos, without)]
        if len(rows) < 2:
            raise GalleryError("Recall needs at least two photos with captions: add a captions file or type captions.")
        relevance = Relevance.of([contents.photos[row].captions for row in rows])
        images = self._indexes_of(contents).index_for(adapter).take(np.array(rows))
        captions = self._captions_of(contents, relevance.texts, adapter)
        return *with_popularity(images, captions.rows, captions.popularity), relevance

    def _filled(self, purpose: str, top: int | None) -> _Contents:
        contents = self._contents
        if not contents.entries:
            raise GalleryError(f"There are no photos yet: add some, or take the sample photos, to {purpose}.")
        if top is not None and top < 1:
            raise GalleryError(f"{top} results were asked for: at least one is needed.")
        return contents

    def _replace(self, entries: Mapping[str, _Entry]) -> None:
        """Set the photos; the caller holds the lock. Indexes of earlier photo sets only take memory from now on."""
        self._contents = _Contents(entries, self._contents.version + 1)
        self._indexes = None

    @property
    def searchable(self) -> PhotoIndexes:
        """What search asks, for the photos of this moment; its places are those of ``photos``."""
        return self._indexes_of(self._contents)

    def _indexes_of(self, contents: _Contents) -> PhotoIndexes:
        with self._lock:  # it takes milliseconds
            if self._indexes is not None and self._indexes[0] == contents.version:
                return self._indexes[1]
            entries = contents.entries.values()
            indexes = PhotoIndexes(self.backbone, [entry.prefix for entry in entries], [entry.row for entry in entries])
            if contents.version == self._contents.version:
                self._indexes = contents.version, indexes
        return indexes

    def question(self, text: str) -> EncodedQuery:
        """The question that was typed, for all adapters.

        Raises:
            DescriptionError: an unusable query.
        """
        return Query.parse([text]).question(self.backbone)

    def like(self, id: str) -> LikePhoto | None:
        """What is like one of the photos; None where it is not there."""
        contents = self._contents
        place = next((place for place, photo in enumerate(contents.photos) if photo.id == id), None)
        return None if place is None else LikePhoto(self._indexes_of(contents), place)

    def _captions_of(
        self, contents: _Contents, texts: tuple[str, ...], adapter: Adapter, stop: Callable[[], bool] = lambda: False
    ) -> _Captions:
        """Captions as this adapter reads them, and how popular they are among these photos as it sees them."""
        reads = adapter.lora is not None and (adapter.lora.moves_texts or self.backbone.shared is not None)

        def read() -> Tensor:
            return text_rows(self.backbone, self._text_prefixes(texts, stop=stop), adapter)

        rows = _kept(self._rows, self._lock, adapter.key if reads else ZERO_SHOT.key, texts, read)

        def popular() -> Tensor:
            index = self._indexes_of(contents).index_for(adapter)
            return popularity(index.take(spread_places(len(index))), rows)

        return _Captions(rows, _kept(self._popular, self._lock, adapter.key, (contents.version, texts), popular))

    def _text_prefixes(
        self,
        texts: tuple[str, ...],
        progress: Callable[[int, int], object] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Tensor:
        """[n, …] of captions; only those that were not there the last time are encoded."""
        with self._lock:
            last = self._texts
        if last is not None and last[0] == texts:
            return last[1]
        known = dict(zip(*last, strict=True)) if last is not None else {}
        new = [text for text in texts if text not in known]
        for start in range(0, len(new), CAPTIONS_AT_ONCE):
            if stop():
                raise StudioError("Reading the captions was stopped.")
            some = new[start : start + CAPTIONS_AT_ONCE]
            known |= zip(some, self.backbone.text_prefix(some), strict=True)
            if progress is not None:
                progress(len(texts) - len(new) + start + len(some), len(texts))
        prefixes = torch.stack([known[text] for text in texts])
        with self._lock:
            self._texts = (texts, prefixes)
        return prefixes

    def _room(self) -> int:
        """How many more photos fit, by their number and by their bytes."""
        contents = self._contents
        room = self.limit - len(contents.entries)
        if self.most_bytes is None:
            return room
        return min(room, (self.most_bytes - contents.memory) // self._bytes_a_photo)

    @property
    def _bytes_a_photo(self) -> int:
        return 2 * math.prod(self.backbone.prefix_shape) + 4 * width(self.backbone) + THUMBNAIL_BYTES

    @property
    def holds_at_most(self) -> int:
        """About how many photos it takes, by their number and by their bytes."""
        return self.limit if self.most_bytes is None else min(self.limit, self.most_bytes // self._bytes_a_photo)

    def _full(self) -> str:
        if self.most_bytes is None or self.holds_at_most == self.limit:
            return f"the gallery is full: it takes at most {self.limit:,} photos."
        return f"the gallery is full: its photos take at most {self.most_bytes // 2**20:,} MB of memory."

    def _commit(
        self,
        batch: Sequence[Decoded],
        prefixes: Tensor,
        rows: Tensor,
        captions: Sequence[tuple[str, ...]],
        folders: Sequence[str],
    ) -> list[Photo]:
        """Put a batch in, with the captions and folders of its positions; returns its photos, their names now unique."""
        with self._lock:
            entries = dict(self._contents.entries)
            taken = {entry.photo.name.casefold() for entry in entries.values()}
            photos = []
            for decoded, prefix, row in zip(batch, prefixes, rows, strict=True):
                name = _unique(decoded.name, taken)
                taken.add(name.casefold())
                place, when = decoded.position, taken_at(decoded.photo.taken)
                day = None if when is None else when.date()
                photo = Photo(decoded.id, name, decoded.photo.thumbnail, captions[place], day, folders[place])
                photos.append(photo)
                # A copy, because a row of the batch would keep the whole batch in memory.
                entries[photo.id] = _Entry(photo, prefix.clone(), row.clone())
            self._replace(entries)
        return photos

    def _join_captions(self, key: str, captions: tuple[str, ...]) -> None:
        with self._lock:
            entries = dict(self._contents.entries)
            if key in entries:
                photo = entries[key].photo
                joined = clean_captions([*photo.captions, *captions])
                entries[key] = replace(entries[key], photo=replace(photo, captions=joined))
                self._contents = replace(self._contents, entries=entries)


_Cache = dict[str, tuple[object, Tensor]]  # what was asked for last under a key, and the answer


def _kept(cache: _Cache, lock: threading.Lock, key: str, asked: object, make: Callable[[], Tensor]) -> Tensor:
    """The answer that is kept under a key, or a new one; the last KEPT_CAPTIONS keys stay."""
    with lock:
        known = cache.get(key)
    if known is not None and known[0] == asked:
        return known[1]
    made = make()
    with lock:
        cache[key] = asked, made
        while len(cache) > KEPT_CAPTIONS:
            del cache[next(iter(cache))]
    return made


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
