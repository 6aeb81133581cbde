"""Search: embed the question with the adapter, then search the index of the photos as the adapter sees them.

One index answers all adapters that adapt texts only, or move photos by the backbone's shared LoRA only (``columns``). Other
adapters need every photo embedded again from its prefix activations. A gallery does this; a library on disk rejects such
adapters.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from core.backbones.base import Backbone
from core.common.errors import GalleryError, PhotoError
from core.common.lazy import lazy
from core.common.messages import Message, message
from core.common.progress import Stop, never
from core.data.decode import content_id
from core.data.decode_pool import decode_photo
from core.data.image_io import photo_bytes
from core.names.teach import TaughtNames
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import asked, embeddings
from core.retrieval.gallery import Entry, GalleryPhotos, Photo
from core.retrieval.index import Hit, Ranking
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.photo_set import PhotoSet, Where
from core.retrieval.questions import EncodedQuery, Query

MOST_RANKED = 50_000  # of a library's zero-shot ranking, to compare ranks with
MOST_FOUND = 300  # most results with a library
NONE_LEFT = "No photo matches this folder and these dates. A photo without a camera date matches no dates."
WORDS, PHOTO, SIMILAR = "words", "photo", "similar"  # find photos of words, captions of a photo, photos like a photo


@dataclass(frozen=True)
class LikePhoto:
    """A question for photos similar to one of ``photos``."""

    photos: PhotoSet
    photo: int  # its row

    def row(self, backbone: Backbone, adapter: Adapter = ZERO_SHOT) -> Tensor:
        """As ``EncodedQuery.row``."""
        rows = self.photos.index_for(adapter).take(np.array([self.photo]))
        return asked(backbone, adapter, lambda lora: embeddings(backbone, rows, lora))[0]


Asked = EncodedQuery | LikePhoto  # a question before any adapter is applied


def search(
    photos: PhotoSet, question: Asked, adapter: Adapter = ZERO_SHOT, top: int | None = 10, among: np.ndarray | None = None
) -> list[tuple[int, float]]:
    """The ``top`` best photos (None: all) as (row, score), best first.

    A score is the cosine similarity. If the adapter's weight is below 1, it is the mixture with the zero-shot score.
    ``among``: the allowed rows [k], ascending (None: all). Raises AdapterError: as ``PhotoSet.index_for`` and
    ``EncodedQuery.row``.
    """
    return photos.index_for(adapter).search(question.row(photos.backbone, adapter), top, among=among)


@dataclass(frozen=True)
class Search:
    """A question, and the photos that may answer it: a gallery's, a library's, or both. A photo in both is in the results once,
    as in the gallery."""

    kind: str  # WORDS, PHOTO or SIMILAR
    what: str  # the words, or a photo's id
    own: GalleryPhotos | None  # a gallery's photos when the search began; None: not searched
    library: LibraryPhotos | None  # None: not searched
    names: TaughtNames
    where: Where
    file: str | None = None  # an uploaded photo, for PHOTO
    query: Query | None = None  # several texts or photos together, instead of words
    rows: dict[str, int] = field(default_factory=dict)  # row in the library of each photo found there, by key
    paths: dict[str, Path] = field(default_factory=dict)  # their files

    @property
    def sets(self) -> tuple[PhotoSet, ...]:
        return tuple(photos for photos in (self.own, self.library) if photos is not None)

    @lazy
    def _allowed(self) -> list[tuple[PhotoSet, np.ndarray | None]]:
        """The photos, and which of their rows [k] may be answers; None: all."""
        return [(photos, photos.among(self.where)) for photos in self.sets]

    @property
    def photos(self) -> tuple[Photo, ...]:
        """Those of the gallery."""
        return () if self.own is None else self.own.photos

    @lazy
    def title(self) -> Message:
        """The question as text. Raises PhotoError: when its photo is missing or cannot be read."""
        if self.kind == WORDS:
            return message("Photos for “{query}”", query=self.what)
        if self.kind == PHOTO:
            name = Path(self.file).name if self.file else self._chosen.photo.name
            return message("Captions for {name}", name=name)
        like = self.question
        assert isinstance(like, LikePhoto)
        return message("Photos like {name}", name=self._named(like.photos, {self.what: like.photo})[self.what])

    @property
    def taught(self) -> tuple[tuple[str, int], ...]:
        """(name, number of photos) of each taught name in the question."""
        names = self.names.within(self.what) if self.kind == WORDS else ()
        return tuple((entry.name, len(entry.photos)) for entry in names)

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

        Raises GalleryError: when no photo may be an answer. Also raises as ``search`` and ``GalleryPhotos.image_to_text``.
        """
        if self.library is None and not self.photos:
            raise GalleryError("There are no photos yet: add some.")
        if self.own is not None and self.kind == PHOTO:
            return self.own.image_to_text(self._prefix, adapter, top, stop)
        total = sum(len(photos if rows is None else rows) for photos, rows in self._allowed)
        if not total and self.where:
            raise GalleryError(NONE_LEFT)
        most = MOST_FOUND if top is None and self.library is not None else top
        best = self._found(adapter, None if most is None else most + 1)[:most]  # one more: the photo itself is left out
        names = dict[str, str]()
        for place, photos in enumerate(self.sets):
            names |= self._named(photos, {key: row for key, _, found_in, row in best if found_in == place})
        return Ranking(tuple(Hit(key, names[key], score, rank) for rank, (key, score, *_) in enumerate(best, 1)), total)

    def moves(self, before: Ranking, after: Ranking) -> Mapping[str, int]:
        """How many ranks each hit moved up (+) or down (-), by key. ``before``: zero-shot; of a library, its first MOST_RANKED
        results are compared. Hits that it lacks are left out."""
        ranks = {hit.key: hit.rank for hit in before.hits} if self.library is None else self._before
        return {hit.key: ranks[hit.key] - hit.rank for hit in after.hits if hit.key in ranks}

    @lazy
    def question(self) -> Asked:
        """The question after the frozen part of the backbone. Raises PhotoError, GalleryError: when the photo is gone."""
        if self.kind == WORDS:
            return (self.query or Query.parse([self.what])).question(self.names.backbone)
        for photos in self.sets:
            if (row := photos.row(self.what)) is not None:
                return LikePhoto(photos, row)
        if self.library is not None:
            raise GalleryError("This photo is not in the library (any more): choose another one.")
        raise PhotoError("This photo is not there any more: choose another one.")

    @property
    def _chosen(self) -> Entry:
        """The gallery's photo whose captions are searched. Raises PhotoError: when it is not there."""
        if self.own is None or self.what not in self.own.entries:
            raise PhotoError("Choose one of your photos, or add another one, to find its captions.")
        return self.own.entries[self.what]

    @lazy
    def _prefix(self) -> Tensor:
        """The prefix [1, *prefix_shape] of the photo whose captions are searched. Raises PhotoError: when it is not there."""
        if not self.file:
            return self._chosen.prefix[None]
        path, backbone = Path(self.file), self.names.backbone
        size = backbone.framing.width, backbone.framing.height
        image = Image.frombytes("RGB", size, decode_photo(path.name, photo_bytes(path), backbone.framing).pixels)
        return backbone.prefix(backbone.pixels(image)[None])

    @lazy
    def _before(self) -> dict[str, int]:
        return {key: rank for rank, (key, *_) in enumerate(self._found(ZERO_SHOT, MOST_RANKED), 1)}

    def _found(self, adapter: Adapter, top: int | None) -> list[tuple[str, float, int, int]]:
        """(key, score, place of its photos in ``sets``, row), best first; ``top``: most results of each."""
        found = dict[str, tuple[str, float, int, int]]()
        for place, (photos, rows) in enumerate(self._allowed):
            for row, score in search(photos, self.question, adapter, top, rows):
                key = photos.key(row)
                found.setdefault(key, (key, score, place, row))
        if self.kind == SIMILAR:
            found.pop(self.what, None)
        return sorted(found.values(), key=lambda result: -result[1])

    def _named(self, photos: PhotoSet, rows: Mapping[str, int]) -> dict[str, str]:
        """The name of each photo to show, by key. Notes the rows and files of a library's photos."""
        named = dict(zip(rows, photos.named(list(rows.values()), self.where.folder), strict=True))
        self.paths.update({key: path for key, (_, path) in named.items() if path is not None})
        self.rows.update({key: row for key, row in rows.items() if key in self.paths})
        return {key: name for key, (name, _) in named.items()}


def _plain(text: str) -> str:
    """A caption or question in the form that is compared."""
    return " ".join(text.split()).rstrip(".!?").casefold()
