"""What one visitor has: photos, names, own experts and files. The tabs of one browser share it; visitors never do."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from gradio.utils import get_upload_folder

from app import texts
from app.engines import DEFAULT
from app.http.guarded_blocks import FOLDER_PREFIX
from app.visitors.limits import Limits
from app.visitors.question import Question
from core.common.errors import GalleryError
from core.data.decode import Source
from core.experts.own import OwnExperts
from core.retrieval.gallery import Gallery, Photo, Progress, Removed
from core.retrieval.library_photos import LibraryPhotos
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest
from core.sglora.teach import TaughtName, TaughtNames

if TYPE_CHECKING:
    from app.visitors.session import Session


PHOTO_LIMIT = 20_000
LISTED = 1_000  # photos that the page lists; all of them are searched
KEPT_DOWNLOADS = 3  # the next one may be asked for while the last is still on its way
DOWNLOAD_PREFIX = "take-home-"
KEPT_THUMBNAILS = 2_000  # of libraries' photos
AWAITED_SECONDS = 120  # after which an upload that waits for its turn is not expected any more
QUIET_SECONDS = 10 * 60  # after which a visitor without an open tab counts as gone
Held = TypeVar("Held")


class Asked(NamedTuple):
    """What a tab generated and asked last, so that a reload shows it again."""

    request: AdapterRequest | None
    question: Question | None
    history: tuple[tuple[str, str], ...]
    marks: Mapping[Question, Mapping[str, bool]]


class Switched(NamedTuple):
    """What a switch to another backbone came to."""

    before: str  # the repository that was used
    photos: int  # indexed again
    lost: tuple[Photo, ...]  # their files are gone
    waiting: tuple[str, ...]  # own experts, which stay with the repository before


class Adding(NamedTuple):
    """How far photos are that are being added; ``total`` is 0 before that is known."""

    begin: float
    done: int = 0
    total: int = 0

    @property
    def seconds_left(self) -> float | None:
        """As the photos so far went; None before the first one."""
        return (time.perf_counter() - self.begin) / self.done * (self.total - self.done) if self.done else None


class Album:
    """A visitor's photos and experts. The tabs of one browser share it through a token that only that browser holds.

    ``of_nobody``: no visitor has it, and it never makes room for others.
    """

    def __init__(self, of_nobody: bool = False) -> None:
        self.token = secrets.token_urlsafe(24)  # brings it back
        self.used = time.monotonic()  # by an event
        self.gone = ""  # why it was emptied without being asked to, until any tab was told; for one that is opened meanwhile
        self.backbone = DEFAULT  # name of the repository that this visitor chose, as in ``Models``
        self.keeps_files = False  # of photos: a page shows them large, and a switch to another backbone needs them
        self.tabs: set[str] = set()  # session hashes of those that show it
        self.shows_samples = False  # which never mix with the visitor's own photos
        self.awaits_samples = False  # the page is to open on them
        self.samples: Session | None = None  # whose they are that the page opened on
        self.trained_on: dict[str, frozenset[str]] = {}  # ids of the photos that trained an own expert, by its name
        self.asked: Asked | None = None
        self.progress: Adding | None = None
        self.stopped = False  # the visitor wants no more photos of those that are being added
        self._awaited_until = 0.0
        self._sessions: weakref.WeakValueDictionary[int, Session] = weakref.WeakValueDictionary()
        self._events = 0
        self._prefix_key: str | None = None  # of the backbone that was switched to
        self._gallery: Gallery | None = None
        self._resting: tuple[Photo, ...] = ()  # photos whose index was given up
        self._aside: Gallery | None = None
        self._removed: list[Removed] = []  # photos that were taken out one by one, the last one last
        self._originals: dict[str, Path] = {}
        self._borrowed: dict[str, None] = {}  # thumbnails of libraries' photos, the last shown last
        self._own_experts: dict[str, OwnExperts] = {}
        self._names: dict[str, tuple[TaughtName, ...]] = {}  # by backbone; without it, so that it can be given up
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._counting, self._changing, self._photos_change = threading.Lock(), threading.Lock(), threading.Lock()
        if not of_nobody:
            _open_albums[self.token] = self

    def __deepcopy__(self, memo: dict[int, Any]) -> Album:
        """As for sessions: a copy starts empty. Gradio describes a state by its dataclass, and so copies what is in it."""
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
        return self._events > 0

    @property
    def memory(self) -> int:
        """Bytes that photos, what was computed for them, experts and adapters take, without small things."""
        aside, samples = self._aside, self.samples
        own = [entry for experts in list(self._own_experts.values()) for entry in experts.entries]
        experts = sum(t.nbytes for entry in own for t in (entry.mean, entry.std, entry.embedding))
        names = sum(entry.memory for entries in list(self._names.values()) for entry in entries)
        photos = self._photos_memory
        if samples is not None and self.shows_samples:
            photos = max(0, photos - samples.album._photos_memory)
        adapters = sum(session.memory for session in self.sessions)
        return photos + (0 if aside is None else aside.memory) + experts + names + adapters

    @property
    def _photos_memory(self) -> int:
        gallery = self._gallery
        return sum(len(photo.thumbnail) for photo in self._resting) if gallery is None else gallery.memory

    def gallery(self, engine: SGLora) -> Gallery:
        """The photos, made on first use because it needs the engine's backbone; raises GalleryError if they are another's."""
        self._check(engine)
        with self._changing:
            if self._gallery is None:
                self._gallery, _ = self._indexed(engine, self._resting)
                self._resting = ()
            return self._gallery

    def _indexed(
        self, engine: SGLora, photos: Sequence[Photo], progress: Progress | None = None
    ) -> tuple[Gallery, tuple[Photo, ...]]:
        """Photos for this engine, in a gallery with the room that one visitor has, and those that are lost."""
        gallery = Gallery(engine.backbone, PHOTO_LIMIT, Limits.from_environment().visitor_memory)
        files = self._originals if self.samples is None else {**self.samples.album._originals, **self._originals}
        return gallery, gallery.take_over(photos, files, progress)

    def own_experts(self, engine: SGLora) -> OwnExperts:
        """The experts, the visitor's own among them."""
        self._check(engine)
        return self._own_experts.get(self.backbone) or OwnExperts(engine.repository)

    def change_own_experts(self, engine: SGLora, change: Callable[[OwnExperts], OwnExperts]) -> OwnExperts:
        """Replace the visitor's own experts by what ``change`` makes of it; other tabs see it with their next event."""
        with self._changing:
            self._own_experts[self.backbone] = own_experts = change(self.own_experts(engine))
            return own_experts

    def names(self, engine: SGLora) -> TaughtNames:
        self._check(engine)
        return TaughtNames(engine.backbone, self._names.get(self.backbone, ()))

    def change_names(self, engine: SGLora, change: Callable[[TaughtNames], TaughtNames]) -> TaughtNames:
        """Replace the visitor's names by what ``change`` makes of them; other tabs see it with their next event."""
        with self._changing:
            changed = change(self.names(engine))
            changed.on(None)  # raises AdapterError where no LoRA can teach this backbone names: they stay as they are
            self._names[self.backbone] = changed.entries
            return changed

    @property
    def taught(self) -> tuple[tuple[str, int], ...]:
        """(name, number of photos) of every name for the chosen backbone; needs no engine."""
        return tuple((entry.name, len(entry.photos)) for entry in self._names.get(self.backbone, ()))

    def _check(self, engine: SGLora) -> None:
        """An event may have begun with the backbone that another tab has switched away from meanwhile."""
        if self._prefix_key is not None and engine.backbone.prefix_key != self._prefix_key:
            raise GalleryError(texts.SWITCHED_MEANWHILE)

    @contextmanager
    def photos_change(self) -> Iterator[None]:
        """While photos are added, or all of them indexed again; one of both at a time."""
        if not self._photos_change.acquire(blocking=False):
            raise GalleryError(texts.PHOTOS_BUSY)
        self.progress = Adding(time.perf_counter())
        try:
            yield
        finally:
            self.progress, self.stopped = None, False
            self._photos_change.release()

    def note_progress(self, done: int, total: int) -> None:
        """So many photos of those that are being added were looked at."""
        if self.progress is not None:
            self.progress = self.progress._replace(done=done, total=total)

    def await_photos(self, awaited: bool = True) -> None:
        """Photos came and wait for their turn to be added; or do so no longer."""
        self._awaited_until = time.monotonic() + AWAITED_SECONDS if awaited else 0.0

    @property
    def adding(self) -> bool:
        """Whether photos are being added or wait for their turn, here or in another tab."""
        return self._photos_change.locked() or time.monotonic() < self._awaited_until

    def keep(self, sources: Sequence[Source], ids: Mapping[int, str]) -> None:
        """Keep the files of photos for as long as the photos; ``ids``: of the photo that each file is, by its place."""
        if not self.keeps_files:
            return
        known, folder = {photo.id for photo in self.photos}, self.folder / "photos"
        folder.mkdir(exist_ok=True)
        for place, key in ids.items():
            source = sources[place]
            file = source if isinstance(source, Path) else source[1]
            if key not in known or key in self._originals or not isinstance(file, Path):
                continue
            target = folder / f"{key}{file.suffix[:6]}"  # a link to an uploaded file takes no room of its own
            with suppress(OSError):
                try:
                    os.link(file, target)
                except OSError:  # another file system
                    shutil.copyfile(file, target)
                self._originals[key] = target

    def switch(self, name: str, engine: SGLora, progress: Progress | None = None) -> Switched:
        """Index the photos with another repository's backbone; own experts stay with theirs."""
        with self.photos_change():
            photos, gallery, before = self.photos, self._gallery, self.backbone
            lost, indexed = (), 0
            if gallery is None or gallery.backbone.prefix_key != engine.backbone.prefix_key:
                old = gallery
                gallery, lost = self._indexed(engine, photos, progress)
                current = photos if old is None else old.photos
                gallery.take_over(current, {})  # captions that were written meanwhile
                gallery.remove({photo.id for photo in photos} - {photo.id for photo in current})
                indexed = len(gallery.photos)
            left = self._own_experts.get(before) if name != before else None
            with self._changing:
                self.backbone, self._prefix_key = name, engine.backbone.prefix_key
                self._gallery, self._resting, self._removed = gallery, (), []
        return Switched(before, indexed, lost, tuple(e.name for e in left.entries) if left else ())

    def rest(self) -> None:
        """Give the index up, and with it the backbone; the photos are indexed again when they are asked for."""
        with self._changing:
            if self._gallery is not None:
                self._resting, self._gallery, self._removed = self._gallery.photos, None, []

    def engine(self, shared: SGLora) -> SGLora:
        """The shared engine with this visitor's experts among the others."""
        own_experts = self.own_experts(shared)
        return own_experts.engine(shared) if own_experts.entries else shared

    @property
    def photos(self) -> tuple[Photo, ...]:
        """The photos so far; needs no engine."""
        gallery = self._gallery  # read once, here and elsewhere: another event may take it away
        return self._resting if gallery is None else gallery.photos

    @property
    def limit(self) -> int:
        """About how many photos have room."""
        gallery = self._gallery
        return PHOTO_LIMIT if gallery is None else gallery.holds_at_most

    @property
    def has_own(self) -> bool:
        return any(list(self._names.values())) or any(own.entries for own in list(self._own_experts.values()))

    def thumbnails(self) -> list[tuple[str, str]]:
        """(file, name) of the first LISTED photos' thumbnails; the files of photos that are gone, go."""
        originals = list(self._originals)  # before the photos: one that is added now is in neither, or in both
        aside = self._aside
        kept = {photo.id for photo in (*self.photos, *(() if aside is None else aside.photos))}
        kept |= {entry.photo.id for removed in self._removed for _, entry in removed}
        for gone in [key for key in originals if key not in kept]:
            if (path := self._originals.pop(gone, None)) is not None:
                path.unlink(missing_ok=True)
        return [(str(self.thumbnail(photo)), photo.name) for photo in self.photos[:LISTED]]

    def thumbnail(self, photo: Photo) -> Path:
        """A photo's thumbnail, written once."""
        if (shelf := self._shelf_of(photo)) is not None:
            return shelf.thumbnail(photo)
        path = self.folder / f"thumbnail-{photo.id}.jpg"
        if not path.exists():
            path.write_bytes(photo.thumbnail)
        return path

    def library_thumbnails(self, library: LibraryPhotos, places: Mapping[str, int]) -> dict[str, Path]:
        """Thumbnails of a library's photos, by key, written once; the oldest ones go."""
        own, folder = {photo.id for photo in self.photos}, self.folder
        paths = {key: folder / f"thumbnail-{key}.jpg" for key in places}
        missing = [key for key, path in paths.items() if not path.exists()]
        for key, content in zip(missing, library.thumbnails([places[key] for key in missing]) if missing else (), strict=True):
            paths[key].write_bytes(content)
        with self._counting:
            self._borrowed = dict.fromkeys([*(key for key in self._borrowed if key not in paths), *(paths.keys() - own)])
            for key in list(self._borrowed)[: max(0, len(self._borrowed) - KEPT_THUMBNAILS)]:
                del self._borrowed[key]
                (folder / f"thumbnail-{key}.jpg").unlink(missing_ok=True)
        return paths

    def original(self, photo: Photo) -> Path:
        """The visitor's own file, or the thumbnail where it is gone."""
        if (shelf := self._shelf_of(photo)) is not None:
            return shelf.original(photo)
        path = self._originals.get(photo.id)
        return path if path is not None and path.exists() else self.thumbnail(photo)

    def _shelf_of(self, photo: Photo) -> Album | None:
        """Where the files of a sample are that the page opened on."""
        samples = self.samples
        return None if samples is None or photo.id not in samples.album._originals else samples.album

    def show_samples(self, shelf: Session) -> None:
        """Show the samples of another session, where there are no photos yet; its files are shared."""
        gallery = shelf.album._gallery
        with self._changing:
            if self.awaits_samples and gallery is not None and not self.photos:
                self._gallery, self.shows_samples, self.samples = gallery.copy(), True, shelf
            self.awaits_samples = False

    @property
    def has_samples_only(self) -> bool:
        """Whether the photos are the samples, with nothing of the visitor's."""
        return self.shows_samples and (self.samples is None or self.photos == self.samples.album.photos)

    def set_aside(self) -> None:
        """Show no photos any more, but keep those that were there for ``take_back``; samples are a click away."""
        with self._changing:
            less = self.has_samples_only or (self.shows_samples and self.aside)  # than photos of one's own
            if self._gallery is not None and self._gallery.photos and not less:
                self._aside = self._gallery
            self._gallery, self._removed, self.shows_samples, self.awaits_samples = None, [], False, False

    def take_back(self, engine: SGLora) -> None:
        """Put the photos back that were removed one by one. Where there are none, show those that were set aside, and set aside
        those that are there, if they are the visitor's own.
        """
        self._check(engine)
        if self._removed:
            with self._changing:
                removed, self._removed = self._removed, []
            for photos in reversed(removed):
                self.gallery(engine).put_back(photos)
            return
        with self.photos_change(), self._changing:
            gallery, before = self._aside, self._gallery
            if gallery is None:
                return
            self._aside = before if before is not None and before.photos and not self.has_samples_only else None
            self.shows_samples = False
            if gallery.backbone.prefix_key != engine.backbone.prefix_key:
                gallery, _ = self._indexed(engine, gallery.photos, self.note_progress)
            self._gallery = gallery

    @property
    def aside(self) -> int:
        """How many photos can be brought back."""
        removed = sum(map(len, self._removed))
        return removed or (0 if self._aside is None else len(self._aside.photos))

    def remove(self, engine: SGLora, photo: str) -> None:
        """Take a photo out, so that it can be brought back."""
        self._removed.append(self.gallery(engine).remove([photo]))

    @property
    def folder(self) -> Path:
        """A folder for this visitor's files; it goes when the last tab's state goes.

        It lies where Gradio serves files from, so that no copies of them stay behind, and no visitor can guess its name.
        """
        with self._counting:
            if self._folder is None:
                parent = Path(get_upload_folder())
                parent.mkdir(parents=True, exist_ok=True)
                self._folder = tempfile.TemporaryDirectory(prefix=f"{FOLDER_PREFIX}{secrets.token_hex(8)}-", dir=parent)
            return Path(self._folder.name)

    def new_file(self, name: str) -> Path:
        """A path in a new folder, for what the visitor downloads; of the folders before, all but the last few go."""
        before = sorted(self.folder.glob(f"{DOWNLOAD_PREFIX}*"), key=lambda folder: folder.stat().st_mtime)
        for folder in before[: len(before) - KEPT_DOWNLOADS + 1]:
            shutil.rmtree(folder, ignore_errors=True)
        folder = self.folder / f"{DOWNLOAD_PREFIX}{secrets.token_hex(8)}"
        folder.mkdir()
        return folder / name

    def write(self, name: str, content: bytes) -> Path:
        """A new file with this content, for what the visitor downloads."""
        path = self.new_file(name)
        path.write_bytes(content)
        return path

    @property
    def files(self) -> Path | None:
        folder = self._folder
        return None if folder is None else Path(folder.name)

    @property
    def sessions(self) -> list[Session]:
        """Of the tabs that show this album."""
        return _alive(self._sessions)

    def enter(self, session: Session) -> None:
        self._sessions[id(session)] = session

    def leave(self, session: Session) -> None:
        """A tab shows it no longer; with the last tab it goes."""
        self._sessions.pop(id(session), None)
        if not self.sessions:
            self.close()

    def close(self, reason: str = "") -> None:
        """Forget everything now, what the tabs show included. ``reason``: the notice at the next event."""
        if reason and (self.memory or self._folder is not None):
            self.gone = reason
        for session in self.sessions:
            session.gone = self.gone
            session.forget()
        with self._changing:
            gallery, self._gallery, self._aside, self._removed = self._gallery, None, None, []
            self._resting, self.asked, self.shows_samples, self.samples = (), None, False, None
            for kept in (self.trained_on, self._own_experts, self._names, self._originals):
                kept.clear()
        with self._counting:
            self._borrowed.clear()
            folder, self._folder = self._folder, None
        if gallery is not None:
            gallery.clear()
        if folder is not None:
            folder.cleanup()


# Weak: an album lives as long as a tab's state holds it, and no longer.
_open_albums: weakref.WeakValueDictionary[str, Album] = weakref.WeakValueDictionary()


def open_album(token: object) -> Album | None:
    """The album that a browser's token brings back, where it is still there."""
    return _open_albums.get(token) if isinstance(token, str) else None


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
    for album in open_albums():
        album.tabs.discard(tab or "")
