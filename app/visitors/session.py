"""What one visitor has: photos, the adapter last generated, the last comparison. Never shared between visitors."""

from __future__ import annotations

import base64
import io
import os
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from gradio.utils import get_upload_folder
from PIL import Image

from app import texts
from app.engines import DEFAULT
from app.http.gradio_patches import FOLDER_PREFIX
from core.common.errors import GalleryError, PhotoError
from core.common.metrics import Hits
from core.data.decode import Source, content_id
from core.data.image_io import photo_bytes
from core.retrieval.gallery import Gallery, Photo, Ranking
from core.sglora.engine import Adaptation, SGLora
from core.sglora.own_experts import Library
from core.sglora.repository import ExpertRepository

PHOTO_LIMIT = 1000
QUIET_SECONDS = 10 * 60  # after which a visitor without an open tab counts as gone
PICTURE_SIDE = 180  # as wide as a result is on a phone

Held = TypeVar("Held")

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
        asked: the question. photos: the gallery at that moment. backbone: fingerprint of the one that ranked.
    """

    of: str
    title: str
    columns: tuple[Column, ...]
    asked: Question | None = None
    photos: tuple[Photo, ...] = field(default=(), repr=False)
    backbone: str = ""


@dataclass(frozen=True)
class Switched:
    """What a switch to another backbone came to.

    Attributes:
        before: the repository that was used. photos: how many were indexed again.
        lost: photos whose files are gone. waiting: own experts, which stay with the repository before.
    """

    before: str
    photos: int
    lost: tuple[Photo, ...]
    waiting: tuple[str, ...]


class Album:
    """A visitor's photos and experts. The tabs of one browser share it through a token that only that browser holds.

    Attributes:
        token: what brings it back. used: when an event last used it, by ``time.monotonic``.
        gone: why it was emptied without being asked to, until any tab was told; for one that is opened meanwhile.
        backbone: name of the repository that this visitor chose, as in ``Models``.
        keeps_files: whether photo files are kept, which a switch to another backbone needs.
        tabs: session hashes of the tabs that show it.
    """

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(24)
        self.used = time.monotonic()
        self.gone = ""
        self._sessions: weakref.WeakValueDictionary[int, Session] = weakref.WeakValueDictionary()
        self._events = 0
        self._counting = threading.Lock()
        self.backbone, self.keeps_files = DEFAULT, False
        self.tabs: set[str] = set()
        self._fingerprint: str | None = None  # of the backbone that was switched to
        self._gallery: Gallery | None = None
        self._resting: tuple[Photo, ...] = ()  # photos whose index was given up
        self._originals: dict[str, Path] = {}
        self._photos_change = threading.Lock()
        self._libraries: dict[str, Library] = {}
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
        gallery, own = self._gallery, [entry for library in list(self._libraries.values()) for entry in library.own]
        experts = sum(t.nbytes for entry in own for t in (entry.mean, entry.std, entry.embedding))
        photos = sum(len(photo.thumbnail) for photo in self._resting) if gallery is None else gallery.memory
        return photos + sum(map(len, list(self._pictures.values()))) + experts

    def gallery(self, engine: SGLora) -> Gallery:
        """The photos, made on first use because it needs the engine's backbone.

        Raises:
            GalleryError: they are another backbone's by now.
        """
        self._check(engine)
        with self._changing:
            if self._gallery is None:
                gallery, resting = Gallery(engine.backbone, limit=PHOTO_LIMIT), self._resting
                gallery.take_over(resting, self._originals)
                self._gallery, self._resting = gallery, ()
            return self._gallery

    def library(self, engine: SGLora) -> Library:
        """The experts, the visitor's own among them."""
        self._check(engine)
        return self._libraries.get(self.backbone) or Library(engine.repository)

    def change_library(self, engine: SGLora, change: Callable[[Library], Library]) -> Library:
        """Replace the library by what ``change`` makes of it; other tabs see it with their next event."""
        with self._changing:
            self._libraries[self.backbone] = made = change(self.library(engine))
            return made

    def _check(self, engine: SGLora) -> None:
        """An event may have begun with the backbone that another tab has switched away from meanwhile."""
        if self._fingerprint is not None and engine.backbone.fingerprint != self._fingerprint:
            raise GalleryError(texts.SWITCHED_MEANWHILE)

    @contextmanager
    def photos_change(self) -> Iterator[None]:
        """While photos are added, or all of them indexed again.

        Raises:
            GalleryError: either is going on already, in another tab.
        """
        if not self._photos_change.acquire(blocking=False):
            raise GalleryError(texts.PHOTOS_BUSY)
        try:
            yield
        finally:
            self._photos_change.release()

    def keep(self, sources: Sequence[Source]) -> None:
        """Keep the files of photos for as long as the photos; a link to an uploaded file takes no room of its own."""
        if not self.keeps_files:
            return
        ids = {photo.id for photo in self.photos} - self._originals.keys()
        folder = self.folder / "photos"
        folder.mkdir(exist_ok=True)
        for source in sources:
            file = source if isinstance(source, Path) else source[1]
            if not isinstance(file, Path):
                continue
            with suppress(PhotoError, OSError):
                key = content_id(photo_bytes(file))
                if key in ids:
                    target = folder / f"{key}{file.suffix[:6]}"
                    try:
                        os.link(file, target)
                    except OSError:  # another file system
                        shutil.copyfile(file, target)
                    self._originals[key] = target

    def switch(self, name: str, engine: SGLora, progress: Callable[[int, int], object] | None = None) -> Switched:
        """Index the photos with another backbone; own experts stay with theirs.

        Args:
            name: of the repository. engine: its engine. progress: called with (photos done, photos in all).

        Raises:
            GalleryError: photos are being added at the same time.
        """
        with self.photos_change():
            photos, old = self.photos, self._gallery
            if old is not None and old.backbone.fingerprint == engine.backbone.fingerprint:
                gallery, lost, indexed = old, (), 0
            else:
                gallery = Gallery(engine.backbone, limit=PHOTO_LIMIT)
                lost = gallery.take_over(photos, self._originals, progress)
                current = photos if old is None else old.photos
                gallery.take_over(current, {})  # captions that were written meanwhile
                gallery.remove({photo.id for photo in photos} - {photo.id for photo in current})
                indexed = len(gallery.photos)
            left = self._libraries.get(self.backbone) if name != self.backbone else None
            before = self.backbone
            with self._changing:
                self.backbone, self._fingerprint = name, engine.backbone.fingerprint
                self._gallery, self._resting, self._engine = gallery, (), None
        return Switched(before, indexed, lost, tuple(e.name for e in left.own) if left else ())

    def rest(self) -> None:
        """Give the index up, and with it the backbone; the photos are indexed again when they are asked for."""
        with self._changing:
            if self._gallery is not None:
                self._resting, self._gallery = self._gallery.photos, None
            self._engine = None

    def engine(self, shared: SGLora) -> SGLora:
        """The shared engine with this visitor's experts among the others."""
        self._check(shared)
        library = self._libraries.get(self.backbone)
        if library is None or not library.own:
            return shared
        made = self._engine
        if made is None or made[0] is not library:
            made = self._engine = library, library.engine(shared)
        return made[1]

    def shared(self, engine: SGLora) -> SGLora:
        """The engine without this visitor's experts."""
        library = self._libraries.get(self.backbone)
        return engine if library is None else replace(engine, repository=library.shipped)

    @property
    def photos(self) -> tuple[Photo, ...]:
        """The photos so far; needs no engine."""
        gallery = self._gallery
        return self._resting if gallery is None else gallery.photos

    @property
    def has_experts(self) -> bool:
        """Whether any expert is the visitor's own."""
        return any(library.own for library in list(self._libraries.values()))

    def original(self, photo: Photo) -> Path | None:
        """The visitor's own file of a photo, where it was kept."""
        return self._originals.get(photo.id)

    def picture(self, photo: Photo) -> str:
        """A small picture of a photo as a data URI, for the results, which show dozens and change with every slider."""
        if photo.id not in self._pictures:
            with Image.open(io.BytesIO(photo.thumbnail), formats=["JPEG"]) as image:
                image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
                out = io.BytesIO()
                image.save(out, "JPEG", quality=72)
            self._pictures[photo.id] = "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
        return self._pictures[photo.id]

    def thumbnails(self) -> list[tuple[str, str]]:
        """(file, name) of each photo's thumbnail, written once per photo; those of photos that are gone, go."""
        originals = list(self._originals)  # before the photos: one that is added now is in neither, or in both
        shown, photos = [], self.photos
        kept = {photo.id for photo in photos}
        for gone in [key for key in self._pictures if key not in kept]:
            self._pictures.pop(gone, None)
        for gone in [key for key in originals if key not in kept]:
            if (path := self._originals.pop(gone, None)) is not None:
                path.unlink(missing_ok=True)
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

    @property
    def sessions(self) -> list[Session]:
        """Of the tabs that show this album."""
        return _alive(self._sessions)

    def enter(self, session: Session) -> None:
        """Another tab shows this album."""
        self._sessions[id(session)] = session

    def leave(self, session: Session) -> None:
        """A tab does so no longer."""
        self._sessions.pop(id(session), None)

    def close(self, reason: str = "") -> None:
        """Forget everything now, what the tabs show included. ``reason``: what the visitor is told with the next event."""
        if reason and (self.memory or self._folder is not None):
            self.gone = reason
        for session in self.sessions:
            session.gone = self.gone
            forget(session)
        with self._changing:
            gallery, self._gallery, self._engine = self._gallery, None, None
            self._resting = ()
            self._libraries.clear()
            self._originals.clear()
        with self._counting:
            folder, self._folder = self._folder, None
        if gallery is not None:
            gallery.clear()
        self._pictures.clear()
        if folder is not None:
            folder.cleanup()


# Weak: an album lives as long as a tab's state holds it, and no longer.
_open_albums: weakref.WeakValueDictionary[str, Album] = weakref.WeakValueDictionary()


def open_albums() -> list[Album]:
    """All albums, the longest unused first."""
    return sorted(_alive(_open_albums), key=lambda album: album.used)


def _alive(known: weakref.WeakValueDictionary[Any, Held]) -> list[Held]:
    """What is still there. Iterating over the dictionary itself fails where another thread adds to it meanwhile."""
    return [value for reference in known.valuerefs() if (value := reference()) is not None]


def watched(backbone: str) -> bool:
    """Whether a visitor who chose this repository has a tab open, or was here a moment ago."""
    now = time.monotonic()
    return any(a.backbone == backbone and (a.tabs or a.busy or now - a.used < QUIET_SECONDS) for a in open_albums())


def rest(backbone: str) -> None:
    """No album holds this repository's backbone any more."""
    for album in open_albums():
        if album.backbone == backbone:
            album.rest()


def left(tab: str | None) -> None:
    """A tab was closed."""
    for album in open_albums():
        album.tabs.discard(tab or "")


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
        known: whether an event of this tab was there before. gone: why the album was emptied, until this tab was told.
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
    gone: str = ""

    def __post_init__(self) -> None:
        self.album.enter(self)

    @property
    def worth(self) -> int:
        """What the visitor would lose: 0 nothing, 1 what a click brings back, 2 photos or experts."""
        album = self.album
        return 2 if album.photos or album.has_experts else int(self.adaptation is not None or album.backbone != DEFAULT)

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
    album.leave(session)
    forget(session)
    if not album.sessions:
        album.close()
