"""Search in a scope: the visitor's own photos, the samples, a library of this machine, or own photos and a library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from app import texts
from app.files import Files
from app.photo_libraries import PhotoLibraries
from app.question import Question, Scope
from app.samples import Samples
from app.visitor import Visitor
from core.common.errors import GalleryError, PhotoError
from core.common.lazy import lazy
from core.common.messages import Message, message
from core.common.text import clean_text
from core.data.decode import content_id
from core.data.decode_pool import decode_photo
from core.data.image_io import photo_bytes
from core.names.teach import TaughtNames
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.gallery import Gallery, Photo, Stop, never
from core.retrieval.index import Hit, Ranking, moves
from core.retrieval.library import shown_path
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.questions import EncodedQuery, Query
from core.retrieval.search import MOST_RANKED, Asked, LikePhoto, search
from core.retrieval.where import NONE_LEFT, Where
from core.sglora.engine import SGLora

MOST_FOUND = 300  # most results, if a library is asked


@dataclass(frozen=True)
class Sources:
    """What visitors may search beside their own photos."""

    libraries: PhotoLibraries = field(default_factory=PhotoLibraries)
    samples: Samples | None = None  # None: the app shows none

    def gallery(self, engine: SGLora, visitor: Visitor, scope: Scope) -> Gallery:
        """The samples or the visitor's photos. Raises GalleryError: as ``Visitor.gallery`` and ``Samples.gallery``."""
        return self.samples.gallery(engine) if scope.samples and self.samples is not None else visitor.gallery(engine)

    def search(self, engine: SGLora, visitor: Visitor, asked: Question) -> ScopedSearch:
        """The search that answers a question. Raises DescriptionError: when the words are unusable; LibraryError: when there is
        no such library."""
        scope, library = asked.scope, None
        if asked.kind == "words":
            asked = replace(asked, what=clean_text(asked.what, "query"))
        gallery = self.gallery(engine, visitor, scope) if scope.own or scope.samples else None
        if scope.library:
            library = self.libraries.photos(scope.library, engine.backbone)
            gallery = gallery if gallery is not None and gallery.photos else None
        files = self.samples.files if scope.samples and self.samples is not None else visitor.files
        return ScopedSearch(asked, gallery, library, visitor.names(engine), files)


@dataclass(frozen=True)
class ScopedSearch:
    """One question, the photos or captions it is asked of, and their rankings. A photo of both galleries counts once."""

    asked: Question
    gallery: Gallery | None  # the visitor's photos or the samples, if they are asked
    library: LibraryPhotos | None  # the library, if one is asked
    names: TaughtNames
    files: Files  # of the gallery's photos
    rows: dict[str, int] = field(default_factory=dict)  # row in the library of each photo found there, by key

    @lazy
    def _own(self) -> Where:
        scope = self.asked.scope
        return Where(Path(scope.folder) if scope.folder else None, scope.since, scope.until)

    @lazy
    def _among(self) -> np.ndarray | None:
        """Rows [k] in the library of the photos that may be answers; None: all of them."""
        assert self.library is not None
        folder = self.asked.scope.folder
        if not folder:
            return self.library.among(self._own)
        if folder not in self.library.folders:  # a folder of the visitor's own photos
            return np.empty(0, int)
        return self.library.among(replace(self._own, folder=self.library.folders[folder]))

    @lazy
    def _total(self) -> int:
        total = 0
        if self.gallery is not None:
            total += len(self.photos if (among := self.gallery.among(self._own)) is None else among)
        if self.library is not None:
            total += len(self.library if self._among is None else self._among)
        return total

    @lazy
    def photos(self) -> tuple[Photo, ...]:
        """The photos of the gallery."""
        return () if self.gallery is None else self.gallery.photos

    @lazy
    def title(self) -> Message:
        """The question as text. Raises PhotoError: when its photo is missing or cannot be read."""
        what, file = self.asked.what, self.asked.file
        if self.asked.kind == "words":
            return message("ASKED_PHOTOS", query=what)
        captions = self.asked.kind == "photo"
        _ = self._photo if captions else self.question  # raises PhotoError if the photo is missing
        name = Path(file).name if file else self._names([what])[what]
        return message("ASKED_CAPTIONS" if captions else "ASKED_LIKE", name=name)

    @lazy
    def right(self) -> frozenset[str]:
        """Keys of the right answers: a photo's own captions, or the photos that have the question as a caption."""
        what = self.asked.what
        if self.asked.kind == "photo":
            return frozenset(content_id(text.encode()) for photo in self.photos if photo.id == what for text in photo.captions)
        if self.asked.kind == "similar":
            return frozenset()
        wanted = _plain(texts.original(what) if self.asked.scope.samples else what)  # captions of the samples are in English
        return frozenset(photo.id for photo in self.photos if wanted in map(_plain, photo.captions))

    @property
    def taught(self) -> tuple[tuple[str, int], ...]:
        """(name, number of photos) of each taught name in the question."""
        names = self.names.within(self.asked.what) if self.asked.kind == "words" else ()
        return tuple((entry.name, len(entry.photos)) for entry in self.names.entries if entry.name in names)

    @lazy
    def _photo(self) -> str | Image.Image:
        """The photo whose captions are searched: its id, or the image in a file. Raises PhotoError: when no photo is chosen."""
        if not self.asked.file:
            if all(photo.id != self.asked.what for photo in self.photos):
                raise PhotoError(texts.NOTHING_PICKED)
            return self.asked.what
        path, framing = Path(self.asked.file), self.names.backbone.framing
        decoded = decode_photo(photo_bytes(path, path.name), path.name, framing)
        return Image.frombytes("RGB", (framing.width, framing.height), decoded.pixels)

    @lazy
    def question(self) -> Asked:
        """The question, encoded up to where adapters begin. Raises PhotoError: when neither place has the photo."""
        if self.asked.kind == "words":
            return Query.parse([self.asked.what]).question(self.names.backbone)
        if self.gallery is not None and (like := self.gallery.like(self.asked.what)) is not None:
            return like
        if self.library is None:
            raise PhotoError(texts.NOTHING_LIKE)
        self.rows[self.asked.what] = row = self.library.place(self.asked.what)
        return LikePhoto(self.library, row)

    @lazy
    def _with_names(self) -> Asked:
        question = self.question
        if not isinstance(question, EncodedQuery):
            return question
        return question.with_names(self.names.within_sentence(self.asked.what))

    def _asked_of(self, adapter: Adapter) -> Asked:
        return self._with_names if adapter.named else self.question

    def rank(self, adapter: Adapter, top: int | None = None, stop: Stop = never) -> Ranking:
        """Rank all photos or captions of the gallery; with a library, the best MOST_FOUND of both. ``top``: most results.

        Raises GalleryError: when no photo may be an answer. Also raises as ``search``.
        """
        if self.gallery is not None and self.asked.kind == "photo":
            return self.gallery.image_to_text(self._photo, adapter, top, stop)
        if not self._total and self._own:
            raise GalleryError(NONE_LEFT)
        if self.gallery is not None and self.library is None and self.asked.kind == "words":
            return self.gallery.rank(self._asked_of(adapter), adapter, top, self._own)
        results = self._found(adapter, MOST_FOUND)[:top]
        if self.library is not None:
            results = results[:MOST_FOUND]
        names = self._names([key for key, _ in results])
        return Ranking(tuple(Hit(key, names[key], score, rank) for rank, (key, score) in enumerate(results, 1)), self._total)

    def moves(self, before: Ranking, after: Ranking) -> Mapping[str, int]:
        """How many ranks each hit moved up against zero-shot, if known."""
        if self.library is None:
            return moves(before, after)
        return {hit.key: self._before[hit.key] - hit.rank for hit in after.hits if hit.key in self._before}

    @lazy
    def _before(self) -> dict[str, int]:
        return {key: rank for rank, (key, _) in enumerate(self._found(ZERO_SHOT, MOST_RANKED), 1)}

    def _found(self, adapter: Adapter, top: int | None) -> list[tuple[str, float]]:
        """(key, score), best first; ``top``: most results of the library."""
        scores: dict[str, float] = {}
        if self.gallery is not None:
            scores = {hit.key: hit.score for hit in self.gallery.rank(self._asked_of(adapter), adapter, None, self._own).hits}
        if self.library is not None:
            for row, score in search(self.library, self._asked_of(adapter), adapter, top, self._among):
                key = self.library.key(row)
                self.rows[key] = row
                scores.setdefault(key, score)
        if self.asked.kind == "similar":
            scores.pop(self.asked.what, None)
        return sorted(scores.items(), key=lambda pair: -pair[1])

    def _names(self, keys: Sequence[str]) -> dict[str, str]:
        names = {photo.id: photo.name for photo in self.photos}
        if self.library is not None:
            keys = [key for key in keys if key not in names]
            paths = self.library.paths([self.rows[key] for key in keys])
            names |= {key: shown_path(path.name) for key, path in zip(keys, paths, strict=True)}
        return names


def _plain(text: str) -> str:
    """A caption or question in the form that is compared."""
    return " ".join(text.split()).rstrip(".!?").casefold()
