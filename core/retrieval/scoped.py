"""A search in a gallery in memory, a library on disk, or both; or in the captions of a gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

from core.common.errors import GalleryError, PhotoError
from core.common.lazy import lazy
from core.common.messages import Message, message
from core.data.decode import content_id
from core.data.decode_pool import decode_photo
from core.data.image_io import photo_bytes
from core.names.teach import TaughtNames
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.gallery import Contents, Gallery, Photo, Stop, never
from core.retrieval.index import Hit, Ranking, moves
from core.retrieval.library import shown_path
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.questions import EncodedQuery, Query
from core.retrieval.search import MOST_RANKED, NONE_LEFT, Asked, LikePhoto, Where, search

MOST_FOUND = 300  # most results with a library
WORDS, PHOTO, SIMILAR = "words", "photo", "similar"  # find photos of words, captions of a photo, photos like a photo


@dataclass(frozen=True)
class ScopedSearch:
    """A question, and where to ask it. A photo that is in the gallery and in the library appears once in the results."""

    kind: str  # WORDS, PHOTO or SIMILAR
    what: str  # the words, or a photo's id
    file: str | None  # an uploaded photo, for PHOTO
    gallery: Gallery | None  # None: not searched
    library: LibraryPhotos | None  # None: not searched
    names: TaughtNames
    folder: str = ""  # a name in ``LibraryPhotos.folders`` or ``Photo.folder``, or an absolute path; "": all folders
    since: date | None = None
    until: date | None = None  # included, like ``since``
    query: Query | None = None  # several texts or photos together, instead of words
    rows: dict[str, int] = field(default_factory=dict)  # row in the library of each photo found there, by key
    paths: dict[str, Path] = field(default_factory=dict)  # their files

    @lazy
    def _held(self) -> Contents | None:
        """The gallery's photos when the search began: all adapters rank the same ones."""
        return None if self.gallery is None else self.gallery.contents

    @property
    def photos(self) -> tuple[Photo, ...]:
        return () if self._held is None else self._held.photos

    @lazy
    def _own(self) -> dict[str, str]:
        """Names of the gallery's photos, by id."""
        return {photo.id: photo.name for photo in self.photos}

    @lazy
    def title(self) -> Message:
        """The question as text. Raises PhotoError: when its photo is missing or cannot be read."""
        if self.kind == WORDS:
            return message("CORE_ASKED_PHOTOS", query=self.what)
        _ = self._photo if self.kind == PHOTO else self.question  # raises PhotoError if the photo is missing
        name = Path(self.file).name if self.file else self._labels([self.what])[self.what]
        return message("CORE_ASKED_CAPTIONS" if self.kind == PHOTO else "CORE_ASKED_LIKE", name=name)

    @property
    def taught(self) -> tuple[tuple[str, int], ...]:
        """(name, number of photos) of each taught name in the question."""
        names = self.names.within(self.what) if self.kind == WORDS else ()
        return tuple((entry.name, len(entry.photos)) for entry in self.names.entries if entry.name in names)

    def right(self, caption: str) -> frozenset[str]:
        """Keys of the right answers: a photo's own captions, or the photos that have this ``caption``."""
        if self.kind == PHOTO:
            photos = (photo for photo in self.photos if photo.id == self.what)
            return frozenset(content_id(text.encode()) for photo in photos for text in photo.captions)
        if self.kind == SIMILAR:
            return frozenset()
        return frozenset(photo.id for photo in self.photos if _plain(caption) in map(_plain, photo.captions))

    def rank(self, adapter: Adapter, top: int | None = None, stop: Stop = never) -> Ranking:
        """Rank photos or captions. ``top``: most results; None: all, or MOST_FOUND with a library.

        Raises GalleryError: when no photo may be an answer. Also raises as ``search``.
        """
        if self.library is None and not self.photos:
            raise GalleryError("CORE_GALLERY_EMPTY")
        if self.gallery is not None and self.kind == PHOTO:
            return self.gallery.image_to_text(self._photo, adapter, top, stop)
        if not self._total and self._where:
            raise GalleryError(NONE_LEFT)
        most = MOST_FOUND if top is None and self.library is not None else top
        results = self._found(adapter, None if most is None else most + 1)[:most]  # one more: the photo itself is left out
        labels = self._labels([key for key, _ in results])
        return Ranking(tuple(Hit(key, labels[key], score, rank) for rank, (key, score) in enumerate(results, 1)), self._total)

    def moves(self, before: Ranking, after: Ranking) -> Mapping[str, int]:
        """How many ranks each hit moved up. With a library: against its first MOST_RANKED zero-shot results."""
        if self.library is None:
            return moves(before, after)
        return {hit.key: self._before[hit.key] - hit.rank for hit in after.hits if hit.key in self._before}

    @lazy
    def question(self) -> Asked:
        """The question after the frozen part of the backbone. Raises PhotoError: when the photo is gone."""
        if self.kind == WORDS:
            return self._query.question(self.names.backbone)
        row = next((row for row, photo in enumerate(self.photos) if photo.id == self.what), None)
        if self._held is not None and row is not None:
            return LikePhoto(self._held.indexes, row)
        if self.library is None:
            raise PhotoError("CORE_NOTHING_LIKE")
        self.rows[self.what] = row = self.library.row(self.what)
        return LikePhoto(self.library, row)

    @lazy
    def _query(self) -> Query:
        return self.query or Query.parse([self.what])

    @lazy
    def _with_names(self) -> Asked:
        if not isinstance(self.question, EncodedQuery):
            return self.question
        return self.question.with_names(self._query.texts, self.names)

    @lazy
    def _photo(self) -> str | Image.Image:
        """The photo whose captions are searched: its id, or the image in a file. Raises PhotoError: when no photo is chosen."""
        if not self.file:
            if all(photo.id != self.what for photo in self.photos):
                raise PhotoError("CORE_NOTHING_PICKED")
            return self.what
        path, framing = Path(self.file), self.names.backbone.framing
        decoded = decode_photo(path.name, photo_bytes(path), framing)
        return Image.frombytes("RGB", (framing.width, framing.height), decoded.pixels)

    @lazy
    def _where(self) -> Where:
        return Where(Path(self.folder) if self.folder else None, self.since, self.until)

    @lazy
    def _among(self) -> np.ndarray | None:
        """Rows [k] in the library of the photos that may be answers; None: all of them."""
        return None if self.library is None else self.library.among(self._where)

    @lazy
    def _total(self) -> int:
        own = None if self._held is None else self._held.among(self._where)
        library = () if self.library is None else self.library
        return len(self.photos if own is None else own) + len(library if self._among is None else self._among)

    @lazy
    def _before(self) -> dict[str, int]:
        return {key: rank for rank, (key, _) in enumerate(self._found(ZERO_SHOT, MOST_RANKED), 1)}

    def _found(self, adapter: Adapter, top: int | None) -> list[tuple[str, float]]:
        """(key, score), best first; ``top``: most results of the library."""
        scores, asked = dict[str, float](), self._with_names if adapter.named else self.question
        if self._held is not None:
            best = search(self._held.indexes, asked, adapter, None, self._held.among(self._where))
            scores = {self.photos[row].id: score for row, score in best}
        if self.library is not None:
            for row, score in search(self.library, asked, adapter, top, self._among):
                key = self.library.key(row)
                self.rows[key] = row
                scores.setdefault(key, score)
        if self.kind == SIMILAR:
            scores.pop(self.what, None)
        return sorted(scores.items(), key=lambda pair: -pair[1])

    def _labels(self, keys: Sequence[str]) -> dict[str, str]:
        if self.library is None:
            return self._own
        keys = [key for key in keys if key not in self._own]
        self.paths.update(zip(keys, self.library.paths([self.rows[key] for key in keys], self._where.folder), strict=True))
        return self._own | {key: shown_path(self.paths[key].name) for key in keys}


def _plain(text: str) -> str:
    """A caption or question in the form that is compared."""
    return " ".join(text.split()).rstrip(".!?").casefold()
