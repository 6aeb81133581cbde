"""What one visitor has: photos, the adapter last generated, the last comparison. Never shared between visitors."""

from __future__ import annotations

import base64
import io
import secrets
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder
from PIL import Image

from core.experts import ExpertRepository
from core.gallery import Gallery, Photo, Ranking
from core.library import Library
from core.metrics import Hits
from core.sglora import Adaptation, SGLora

PHOTO_LIMIT = 1000
PICTURE_SIDE = 180  # as wide as a result is on a phone


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
    """A ZIP of an adapter in PEFT format, the bytes of its weights file, and what it was written from."""

    path: Path
    weights: int
    adaptation: Adaptation = field(repr=False)


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
    """A visitor's photos and experts. The tabs of one browser share it through a token that only that browser holds.

    Attributes:
        token: what brings it back. used: when an event last used it, by ``time.monotonic``.
        gone: why it was emptied without being asked to, until the visitor was told.
    """

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(24)
        self.used = time.monotonic()
        self.gone = ""
        self.sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._events = 0
        self._counting = threading.Lock()
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

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """An event of the visitor uses it in this block: it is not emptied meanwhile."""
        with self._counting:
            self._events += 1
        try:
            yield
        finally:
            with self._counting:
                self._events -= 1
            self.used = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether an event is using it."""
        return self._events > 0

    @property
    def memory(self) -> int:
        """Bytes that the photos, what was computed for them and the visitor's experts take, without small things."""
        gallery, library = self._gallery, self._library
        own = () if library is None else library.own
        experts = sum(t.nbytes for entry in own for t in (entry.mean, entry.std, entry.embedding))
        return (0 if gallery is None else gallery.memory) + sum(map(len, list(self._pictures.values()))) + experts

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
        """A folder for this visitor's files; it goes when the last tab's state goes.

        It lies where Gradio serves files from, so that no copies of them stay behind, and nobody can guess its name.
        """
        with self._counting:
            if self._folder is None:
                parent = Path(get_upload_folder())
                parent.mkdir(parents=True, exist_ok=True)
                self._folder = tempfile.TemporaryDirectory(prefix=f"{FOLDER_PREFIX}{secrets.token_hex(8)}-", dir=parent)
            return Path(self._folder.name)

    @property
    def files(self) -> Path | None:
        """The folder, where there is one."""
        folder = self._folder
        return None if folder is None else Path(folder.name)

    def close(self, reason: str = "") -> None:
        """Forget everything now, what the tabs show included. ``reason``: what the visitor is told with the next event."""
        if reason and (self.memory or self._folder is not None):
            self.gone = reason
        for session in list(self.sessions):
            forget(session)
        with self._changing:
            gallery, self._gallery, self._library, self._engine = self._gallery, None, None, None
        with self._counting:
            folder, self._folder = self._folder, None
        if gallery is not None:
            gallery.clear()
        self._pictures.clear()
        if folder is not None:
            folder.cleanup()


FOLDER_PREFIX = "album-"

# Weak: an album lives as long as a tab's state holds it, and no longer.
_open_albums: weakref.WeakValueDictionary[str, Album] = weakref.WeakValueDictionary()


def open_albums() -> list[Album]:
    """All albums, the longest unused first."""
    return sorted(_open_albums.values(), key=lambda album: album.used)


@dataclass(eq=False)
class Session:
    """The state of one tab.

    Attributes:
        album: the visitor's photos.
        settings, adaptation: what was generated last, and from what; ``repository``: from which experts.
        comparison: what was asked last, to show it again with other columns or fewer rows.
        again: how to ask it again with another adapter.
        history: (query, description) asked, latest first.
        downloads: the last ZIPs of adapters, latest last; a slider makes the next while a click still fetches this one.
        known: whether an event of this tab was there before.
    """

    album: Album = field(default_factory=Album)
    settings: Settings | None = None
    adaptation: Adaptation | None = None
    repository: ExpertRepository | None = None
    comparison: Comparison | None = None
    again: Question | None = None
    history: list[tuple[str, str]] = field(default_factory=list)
    downloads: deque[Download] = field(default_factory=deque)
    known: bool = False

    def __post_init__(self) -> None:
        self.album.sessions.add(self)

    @property
    def download(self) -> Download | None:
        """The latest adapter's ZIP."""
        return self.downloads[-1] if self.downloads else None

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        """Gradio copies the initial state for each new visitor: a copy starts empty, so nothing can leak."""
        return Session()

    @staticmethod
    def resume(token: object) -> Session:
        """A new tab's session, with the album of the same browser where it is still there (a reload, a second tab)."""
        album = _open_albums.get(token) if isinstance(token, str) else None
        return Session(album=album, known=True) if album is not None else Session(known=True)


def forget(session: Session) -> None:
    """Forget what a tab showed; the album, which other tabs of that browser may hold, stays."""
    session.adaptation = session.repository = session.comparison = session.again = None
    session.history.clear()
    session.downloads.clear()


def leave(session: Session) -> None:
    """A tab is gone; with the last tab of a browser its album goes."""
    album = session.album
    album.sessions.discard(session)
    forget(session)
    if not album.sessions:
        album.close()
