"""What one visitor has: photos, the adapter last generated, the last comparison. Never shared between visitors."""

from __future__ import annotations

import base64
import io
import secrets
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from core.experts import ExpertRepository
from core.gallery import Gallery, Photo, Ranking
from core.library import Library
from core.metrics import Hits
from core.sglora import Adaptation, SGLora

PHOTO_LIMIT = 1000
KEEP_SECONDS = 60 * 60
PICTURE_SIDE = 180  # as wide as a result is on a phone
MAX_SESSIONS = 200  # the least recently used goes; a full gallery is some 40 MB, and a free Space has 16 GB


# How to ask something again: ("words", text) or ("photo", (id, path)).
Question = tuple[str, Any]


@dataclass(frozen=True)
class Settings:
    """What an adapter is made from; equal settings give equal adapters. A strength of None follows the confidence."""

    description: str
    k: int
    tau: float
    seed: int
    strength: float | None


@dataclass(frozen=True)
class Download:
    """A ZIP of an adapter in PEFT format, and the bytes of its weights file."""

    path: Path
    weights: int


@dataclass(frozen=True)
class Column:
    """One way to rank.

    Attributes:
        title, note: what it is called.
        ranking: of everything.
        moves: how many places each key moved against zero-shot.
        hits: what recall is counted from, {"i2t": …, "t2i": …}; None where fewer than two photos have captions.
        adapter: the adapter's key.
    """

    title: str
    note: str
    ranking: Ranking
    moves: Mapping[str, int]
    hits: Mapping[str, Hits] | None = None
    adapter: str = ""


@dataclass(frozen=True)
class Comparison:
    """One question and the rankings that answer it, zero-shot first.

    Attributes:
        of: "photos" (asked with words) or "captions" (asked with a photo).
        title: the question, in words.
        columns: the rankings.
        asked: the question. photos: the gallery at that moment.
    """

    of: str
    title: str
    columns: tuple[Column, ...]
    asked: Question | None = None
    photos: tuple[Photo, ...] = field(default=(), repr=False)


class Album:
    """A visitor's photos and experts. The tabs of one browser share it through a token that only that browser holds."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(24)
        self._gallery: Gallery | None = None
        self._library: Library | None = None
        self._engine: tuple[Library, SGLora] | None = None
        self._pictures: dict[str, str] = {}
        self._changing = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        _open_albums[self.token] = self

    def __deepcopy__(self, memo: dict[int, Any]) -> Album:
        """As for sessions: a copy starts empty."""
        return Album()

    def gallery(self, engine: SGLora) -> Gallery:
        """The photos, made on first use because it needs the engine's backbone."""
        if self._gallery is None:
            self._gallery = Gallery(engine.backbone, limit=PHOTO_LIMIT)
        return self._gallery

    def library(self, engine: SGLora) -> Library:
        """The experts, the visitor's own among them."""
        return self._library or Library(engine.repository)

    def change_library(self, engine: SGLora, change: Callable[[Library], Library]) -> Library:
        """Replace the library by what ``change`` makes of it; other tabs see it with their next event."""
        with self._changing:
            self._library = change(self.library(engine))
            return self._library

    def engine(self, shared: SGLora) -> SGLora:
        """The shared engine with this visitor's experts among the others."""
        library = self._library
        if library is None or not library.own:
            return shared
        made = self._engine
        if made is None or made[0] is not library:
            made = self._engine = library, library.engine(shared)
        return made[1]

    def shared(self, engine: SGLora) -> SGLora:
        """The engine without this visitor's experts."""
        return engine if self._library is None else replace(engine, repository=self._library.shipped)

    @property
    def photos(self) -> tuple[Photo, ...]:
        """The photos so far; needs no engine."""
        return () if self._gallery is None else self._gallery.photos

    def picture(self, photo: Photo) -> str:
        """A small picture of a photo as a data URI, for the results, which show dozens and change with every slider."""
        if photo.id not in self._pictures:
            with Image.open(io.BytesIO(photo.thumbnail)) as image:
                image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
                out = io.BytesIO()
                image.save(out, "JPEG", quality=72)
            self._pictures[photo.id] = "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
        return self._pictures[photo.id]

    def thumbnails(self) -> list[tuple[str, str]]:
        """(file, name) of each photo's thumbnail, written once per photo; those of photos that are gone, go."""
        shown, photos = [], self.photos
        kept = {photo.id for photo in photos}
        for gone in [key for key in self._pictures if key not in kept]:
            self._pictures.pop(gone, None)
        for photo in photos:
            path = self.folder / f"thumbnail-{photo.id}.jpg"
            if not path.exists():
                path.write_bytes(photo.thumbnail)
            shown.append((str(path), photo.name))
        return shown

    @property
    def folder(self) -> Path:
        """A folder for this visitor's files; it goes when the last tab's state goes."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="sg-lora-")
        return Path(self._folder.name)

    def close(self) -> None:
        """Forget the photos and files now."""
        if self._gallery is not None:
            self._gallery.clear()
        self._pictures.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


# Weak: an album lives as long as a tab's state holds it, and no longer.
_open_albums: weakref.WeakValueDictionary[str, Album] = weakref.WeakValueDictionary()


@dataclass(eq=False)
class Session:
    """The state of one tab.

    Attributes:
        album: the visitor's photos.
        settings, adaptation: what was generated last, and from what; ``repository``: from which experts.
        comparison: what was asked last, to show it again with other columns or fewer rows.
        again: how to ask it again with another adapter.
        history: (query, description) asked, latest first.
        download: the adapter's ZIP.
    """

    album: Album = field(default_factory=Album)
    settings: Settings | None = None
    adaptation: Adaptation | None = None
    repository: ExpertRepository | None = None
    comparison: Comparison | None = None
    again: Question | None = None
    history: list[tuple[str, str]] = field(default_factory=list)
    download: Download | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        """Gradio copies the initial state for each new visitor: a copy starts empty, so nothing can leak."""
        return Session()

    @staticmethod
    def resume(token: object) -> Session:
        """A new tab's session, with the album of the same browser where it is still there (a reload, a second tab)."""
        album = _open_albums.get(token) if isinstance(token, str) else None
        return Session(album=album) if album is not None else Session()


def forget(session: Session) -> None:
    """Called by Gradio when a tab's state is dropped; other tabs of that browser keep their album."""
    session.adaptation = session.repository = session.comparison = session.again = None
    session.history.clear()
