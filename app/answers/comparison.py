"""One question, its rankings, and what is counted from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from app.answers.question import Question
from app.photos.files import Files
from core.common.lazy import lazy
from core.common.messages import Message
from core.common.metrics import Hits
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.gallery import Hit, Photo, Ranking
from core.retrieval.library import shown_path
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.photo_set import PhotoSet
from core.sglora.engine import Adaptation
from core.sglora.repository import ExpertRepository

# Titles of columns: keys of texts.
ZERO, SHARED, NAMES, RANDOM, MERGE, SG_LORA = "ZERO_SHOT", "SHARED", "NAMES", "RANDOM", "MERGE", "SG_LORA"
CONTROLS = (MERGE, RANDOM)  # columns to compare the adapter with
FIRST = 10  # places that the headline counts
UNRANKED = Ranking((), 0)


@dataclass(frozen=True)
class Column:
    title: str  # a key of texts
    note: Message | str = ""
    ranking: Ranking = UNRANKED
    moves: Mapping[str, int] = field(default_factory=dict)  # ranks moved up against zero-shot, by key
    adapter: Adapter = ZERO_SHOT  # the adapter that made the ranking


class Counted(NamedTuple):
    """A column, or a control that is not ranked, with the ``hits`` from which its recall is counted: {"i2t": …, "t2i": …}."""

    title: str
    note: Message | str
    adapter: Adapter
    hits: Mapping[str, Hits]


@dataclass(frozen=True)
class Comparison:
    """One question and the rankings that answer it, zero-shot first."""

    title: Message | str  # the question as text
    columns: tuple[Column, ...]
    asked: Question
    right: frozenset[str] = frozenset()  # keys of the right answers, from captions
    left_out: frozenset[str] = frozenset()  # photos that recall leaves out: they trained an expert of the adapter
    photos: tuple[Photo, ...] = field(default=(), repr=False)  # the visitor's photos, or the samples, at that time
    files: Files = field(default_factory=Files, repr=False, compare=False)  # thumbnails and originals
    backbone: str = ""  # fingerprint of the backbone that ranked
    names: tuple[tuple[str, int], ...] = ()  # taught names in the question, and the number of their photos
    sentence: str = field(default="", compare=False)  # the adapter's sentence
    sets: tuple[PhotoSet, ...] = field(default=(), repr=False, compare=False)  # the searched photos
    library: LibraryPhotos | None = field(default=None, repr=False)  # the searched library
    rows: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)  # row in the library, by key
    paths: Mapping[str, Path] = field(default_factory=dict, repr=False, compare=False)  # file of the library, by key
    opens: bool = False  # whether the visitor may open the library's files: they are the visitor's own
    counted: tuple[Counted, ...] = field(default=(), compare=False)  # zero-shot first, the adapter last; empty before

    def file(self, key: str) -> Path | None:
        return self.paths.get(key) if self.opens else None

    def place(self, hit: Hit) -> str:
        """A photo's folder and name, or its full path if the visitor may open it."""
        if self.library is not None and (path := self.paths.get(hit.key)) is not None:
            return shown_path(str(path)) if self.opens else self.library.place(path)
        photo = self.by_id.get(hit.key)
        return "/".join(filter(None, (photo and photo.folder, hit.label)))

    def pictures(self, keys: Sequence[str]) -> dict[str, tuple[Path, Path]]:
        """The files of thumbnails and photos, by key. Of a library's photo, the thumbnail stands for both."""
        files, photos = self.files, self.by_id
        own = {key: (files.thumbnail(photos[key]), files.original(photos[key])) for key in keys if key in photos}
        if self.library is None:
            return own
        rows = {key: self.rows[key] for key in keys if key in self.rows and key not in photos}
        return own | {key: (path, path) for key, path in files.library_thumbnails(self.library, rows).items()}

    @lazy
    def by_id(self) -> dict[str, Photo]:
        return {photo.id: photo for photo in self.photos}

    @property
    def _counted(self) -> list[tuple[str, ...]]:
        """The captions of each photo that recall is counted over."""
        return [photo.captions for photo in self.photos if photo.captions and photo.id not in self.left_out]

    @property
    def measurable(self) -> bool:
        return self.library is None and len(self._counted) > 1

    @property
    def measured(self) -> bool:
        return bool(self.counted)

    @property
    def costs(self) -> bool:
        """Whether the sentence is known to find less than the search without it."""
        counts = {column.title: self.found(column) for column in self.counted}
        return counts.get(SG_LORA, 0) < counts.get(SHARED, 0)

    def found(self, column: Counted) -> int:
        """Photos that get their right name first; or captions whose photo is among the first ten."""
        return int((column.hits["i2t"].ranks < 1).sum() if self.named else (column.hits["t2i"].ranks < FIRST).sum())

    @property
    def named(self) -> bool:
        """Whether captions are class names: one per photo, each of two photos or more on average."""
        return all(len(captions) == 1 for captions in self._counted) and 2 * self.captions <= len(self._counted)

    @property
    def captions(self) -> int:
        return len(set().union(*self._counted))

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of the searched photos, the library's last."""
        return tuple(dict.fromkeys(folder for photos in self.sets for folder in photos.folders))

    @property
    def several_days(self) -> bool:
        """Whether the known days of the searched photos differ."""
        return any(photos.several_days for photos in self.sets)

    @property
    def of(self) -> str:
        """What is ranked: "photos" or "captions"."""
        return "captions" if self.asked.kind == "photo" else "photos"


@dataclass(frozen=True)
class Answer:
    adaptation: Adaptation | None = None  # None without a sentence
    repository: ExpertRepository | None = None  # the experts that made it
    comparison: Comparison | None = None  # None without a question
    unasked: Comparison | None = None  # without a question: the columns over which recall is counted
