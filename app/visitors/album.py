"""One visitor's photos, names, own experts and files. The tabs of one browser share them; visitors never do."""

from __future__ import annotations

import math
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
from core.names.teach import TaughtName, TaughtNames
from core.retrieval.gallery import Gallery, Photo, Progress, Removed
from core.retrieval.library_photos import LibraryPhotos
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

if TYPE_CHECKING:
    from app.visitors.session import Session


PHOTO_LIMIT = 20_000
LISTED = 1_000  # photos that the page lists; it searches all of them
KEPT_DOWNLOADS = 3  # a visitor may start a download while another one runs
DOWNLOAD_PREFIX = "take-home-"
KEPT_THUMBNAILS = 2_000  # of libraries' photos
AWAITED_SECONDS = 120  # an upload that waits for its turn longer than this is given up
QUIET_SECONDS = 10 * 60  # after this time, a visitor without an open tab counts as gone
RELOAD_SECONDS = 10  # for so long after the last tab was closed, photos are still added: it may be a reload
Held = TypeVar("Held")


class Asked(NamedTuple):
    """What a tab generated and asked last. A reload shows it again."""

    request: AdapterRequest | None
    question: Question | None
    history: tuple[tuple[str, str], ...]
    marks: Mapping[Question, Mapping[str, bool]]


class Switched(NamedTuple):
    """The result of a switch to another backbone."""

    before: str  # the repository used before
    photos: int  # number of photos that were indexed again
    lost: tuple[Photo, ...]  # photos whose files are gone
    waiting: tuple[str, ...]  # own experts, which stay with the repository before


class Adding(NamedTuple):
    """The progress of adding photos; ``total`` is 0 until it is known."""

    begin: float
    done: int = 0
    total: int = 0

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the photos so far; None before the first one."""
        return (time.perf_counter() - self.begin) / self.done * (self.total - self.done) if self.done else None


class Album:
    """A visitor's photos and experts. The tabs of one browser share it through a token that only that browser holds.

    ``of_nobody``: it belongs to no visitor and never makes room for others.
    """

    def __init__(self, of_nobody: bool = False) -> None:
        self.token = secrets.token_urlsafe(24)  # with it, the browser finds the album again
        self.used = time.monotonic()  # time of the last event
        self.measured = 0  # its ``memory`` when it was last looked at
        self.gone = ""  # why the app emptied it; shown once, in the next tab that asks
        self.backbone = DEFAULT  # name of the repository that this visitor chose, as in ``Models``
        self.keeps_files = False  # whether photo files are kept: the page enlarges them, and another backbone reads them again
        self.tabs: set[str] = set()  # session hashes of the tabs that show it
        self.last_left = -math.inf  # when a tab was last closed
        self.shows_samples = False  # samples never mix with the visitor's own photos
        self.awaits_samples = False  # whether the page opens on the samples
        self.samples: Session | None = None  # the session whose samples the page opened on
        self.trained_on: dict[str, frozenset[str]] = {}  # ids of the photos that trained an own expert, by its name
        self.asked: Asked | None = None
        self.progress: Adding | None = None
        self.stopped = False  # the visitor stopped adding photos
        self._awaited_until = 0.0
        self._sessions: weakref.WeakValueDictionary[int, Session] = weakref.WeakValueDictionary()
        self._events = 0
        self._prefix_key: str | None = None  # of the backbone that the visitor switched to
        self._gallery: Gallery | None = None
        self._resting: tuple[Photo, ...] = ()  # photos without their index, after ``rest``
        self._aside: Gallery | None = None
        self._removed: list[Removed] = []  # photos that were removed one by one, the latest last
        self._originals: dict[str, Path] = {}
        self._borrowed: dict[str, None] = {}  # keys of libraries' photos with a thumbnail here, the last shown last
        self._own_experts: dict[str, OwnExperts] = {}
        self._names: dict[str, tuple[TaughtName, ...]] = {}  # by repository; without its backbone, which can be freed
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._counting, self._changing, self._photos_change = threading.Lock(), threading.Lock(), threading.Lock()
        if not of_nobody:
            _open_albums[self.token] = self

    def __deepcopy__(self, memo: dict[int, Any]) -> Album:
        """Return an empty album, as for sessions: Gradio copies the fields of a state when it describes it."""
        return Album()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the album from being emptied while an event of the visitor uses it."""
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
    def deserted(self) -> bool:
        """Whether no tab shows it, for longer than a reload takes."""
        return not self.tabs and time.monotonic() - self.last_left > RELOAD_SECONDS

    @property
    def memory(self) -> int:
        """Bytes of photos, their embeddings, own experts, names and adapters. Small objects are not counted."""
        aside, samples = self._aside, self.samples
        own_entries = [entry for experts in list(self._own_experts.values()) for entry in experts.entries]
        experts = sum(t.nbytes for entry in own_entries for t in (entry.mean, entry.std, entry.embedding))
        names = sum(entry.memory for entries in list(self._names.values()) for entry in entries)
        photos = self._photos_memory
        if samples is not None and self.shows_samples:
            photos = max(0, photos - samples.album._photos_memory)
        adapters = sum(session.memory for session in self.sessions)
        removed = sum(entry.memory for entries in list(self._removed) for _, entry in entries)
        return photos + removed + (0 if aside is None else aside.memory) + experts + names + adapters

    @property
    def _photos_memory(self) -> int:
        gallery = self._gallery
        return sum(len(photo.thumbnail) for photo in self._resting) if gallery is None else gallery.memory

    def gallery(self, engine: SGLora) -> Gallery:
        """The photos, indexed on first use, since that needs the engine's backbone. Raises as ``_check``."""
        self._check(engine)
        with self._changing:
            if self._gallery is None:
                self._gallery, _ = self._indexed(engine, self._resting)
                self._resting = ()
            return self._gallery

    def _indexed(
        self, engine: SGLora, photos: Sequence[Photo], progress: Progress | None = None
    ) -> tuple[Gallery, tuple[Photo, ...]]:
        """Index photos for this engine, within the limits of one visitor. Returns the gallery and the lost photos."""
        gallery = Gallery(engine.backbone, PHOTO_LIMIT, Limits.from_environment().visitor_memory)
        files = self._originals if self.samples is None else {**self.samples.album._originals, **self._originals}
        return gallery, gallery.take_over(photos, files, progress)

    def own_experts(self, engine: SGLora) -> OwnExperts:
        """The visitor's own experts, beside those of the repository."""
        self._check(engine)
        return self._own_experts.get(self.backbone) or OwnExperts(engine.repository)

    def change_own_experts(self, engine: SGLora, change: Callable[[OwnExperts], OwnExperts]) -> OwnExperts:
        """Replace the own experts with the result of ``change``. Other tabs see it at their next event."""
        with self._changing:
            self._own_experts[self.backbone] = own_experts = change(self.own_experts(engine))
            return own_experts

    def names(self, engine: SGLora) -> TaughtNames:
        self._check(engine)
        return TaughtNames(engine.backbone, self._names.get(self.backbone, ()))

    def change_names(self, engine: SGLora, change: Callable[[TaughtNames], TaughtNames]) -> TaughtNames:
        """Replace the names with the result of ``change``. Other tabs see it at their next event."""
        with self._changing:
            changed = change(self.names(engine))
            changed.on(None)  # raises AdapterError, and changes nothing, if no LoRA can teach this backbone names
            self._names[self.backbone] = changed.entries
            return changed

    @property
    def taught(self) -> tuple[tuple[str, int], ...]:
        """(name, number of photos) of every name for the chosen backbone; needs no engine."""
        return tuple((entry.name, len(entry.photos)) for entry in self._names.get(self.backbone, ()))

    def _check(self, engine: SGLora) -> None:
        """Raise GalleryError if another tab switched to another backbone after this event had begun."""
        if self._prefix_key is not None and engine.backbone.prefix_key != self._prefix_key:
            raise GalleryError(texts.SWITCHED_MEANWHILE)

    @contextmanager
    def photos_change(self) -> Iterator[None]:
        """Hold this while photos are added or indexed again. Raises GalleryError: when another event holds it."""
        if not self._photos_change.acquire(blocking=False):
            raise GalleryError(texts.PHOTOS_BUSY)
        self.progress = Adding(time.perf_counter())
        try:
            yield
        finally:
            self.progress, self.stopped = None, False
            self._photos_change.release()

    def note_progress(self, done: int, total: int) -> None:
        """Note how many of the photos that are being added are done."""
        if self.progress is not None:
            self.progress = self.progress._replace(done=done, total=total)

    def await_photos(self, awaited: bool = True) -> None:
        """Note that uploaded photos wait for their turn, or no longer do."""
        self._awaited_until = time.monotonic() + AWAITED_SECONDS if awaited else 0.0

    @property
    def adding(self) -> bool:
        """Whether any tab is adding photos or has photos that wait for their turn."""
        return self._photos_change.locked() or time.monotonic() < self._awaited_until

    def keep(self, sources: Sequence[Source], ids: Mapping[int, str]) -> None:
        """Keep the files of photos for as long as the photos. ``ids``: the photo's id by its place in ``sources``."""
        if not self.keeps_files:
            return
        photo_ids, folder = {photo.id for photo in self.photos}, self.folder / "photos"
        folder.mkdir(exist_ok=True)
        for place, key in ids.items():
            source = sources[place]
            file = source if isinstance(source, Path) else source[1]
            if key not in photo_ids or key in self._originals or not isinstance(file, Path):
                continue
            target = folder / f"{key}{file.suffix[:6]}"  # a hard link takes no disk space
            with suppress(OSError):
                try:
                    os.link(file, target)
                except OSError:  # a link cannot cross file systems
                    shutil.copyfile(file, target)
                self._originals[key] = target

    def switch(self, name: str, engine: SGLora, progress: Progress | None = None) -> Switched:
        """Index the photos with another repository's backbone. Own experts stay with the repository before."""
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
            experts = self._own_experts.get(before) if name != before else None
            with self._changing:
                self.backbone, self._prefix_key = name, engine.backbone.prefix_key
                self._gallery, self._resting, self._removed = gallery, (), []
        return Switched(before, indexed, lost, tuple(e.name for e in experts.entries) if experts else ())

    def rest(self) -> None:
        """Drop the index, so that the backbone can be freed. The photos are indexed again on next use."""
        with self._changing:
            if self._gallery is not None:
                self._resting, self._gallery, self._removed = self._gallery.photos, None, []

    def engine(self, shared: SGLora) -> SGLora:
        """The shared engine with this visitor's own experts added."""
        own_experts = self.own_experts(shared)
        return own_experts.engine(shared) if own_experts.entries else shared

    @property
    def photos(self) -> tuple[Photo, ...]:
        """The photos so far; needs no engine."""
        gallery = self._gallery  # read once, here and below: another event may replace it
        return self._resting if gallery is None else gallery.photos

    @property
    def limit(self) -> int:
        """The number of photos that fit, as an estimate."""
        gallery = self._gallery
        return PHOTO_LIMIT if gallery is None else gallery.holds_at_most

    @property
    def has_own(self) -> bool:
        return any(list(self._names.values())) or any(own.entries for own in list(self._own_experts.values()))

    def delete_unused_files(self) -> None:
        """Delete the files of photos that are gone."""
        originals = list(self._originals)  # read before the photos, so that a photo added now keeps its file
        aside = self._aside
        kept_ids = {photo.id for photo in (*self.photos, *(() if aside is None else aside.photos))}
        kept_ids |= {entry.photo.id for removed in self._removed for _, entry in removed}
        for unused in [key for key in originals if key not in kept_ids]:
            if (path := self._originals.pop(unused, None)) is not None:
                path.unlink(missing_ok=True)

    def thumbnails(self) -> list[tuple[str, str]]:
        """(file, name) of the first LISTED photos' thumbnails."""
        return [(str(self.thumbnail(photo)), photo.name) for photo in self.photos[:LISTED]]

    def thumbnail(self, photo: Photo) -> Path:
        """The file of a photo's thumbnail, written on first use."""
        if (shelf := self._shelf_of(photo)) is not None:
            return shelf.thumbnail(photo)
        path = self.folder / f"thumbnail-{photo.id}.jpg"
        if not path.exists():
            path.write_bytes(photo.thumbnail)
        return path

    def library_thumbnails(self, library: LibraryPhotos, places: Mapping[str, int]) -> dict[str, Path]:
        """Files of thumbnails of a library's photos, by key, written on first use. The oldest ones are deleted."""
        own_ids, folder = {photo.id for photo in self.photos}, self.folder
        paths = {key: folder / f"thumbnail-{key}.jpg" for key in places}
        missing = [key for key, path in paths.items() if not path.exists()]
        for key, content in zip(missing, library.thumbnails([places[key] for key in missing]) if missing else (), strict=True):
            paths[key].write_bytes(content)
        with self._counting:
            self._borrowed = dict.fromkeys([*(key for key in self._borrowed if key not in paths), *(paths.keys() - own_ids)])
            for key in list(self._borrowed)[: max(0, len(self._borrowed) - KEPT_THUMBNAILS)]:
                del self._borrowed[key]
                (folder / f"thumbnail-{key}.jpg").unlink(missing_ok=True)
        return paths

    def original(self, photo: Photo) -> Path:
        """The visitor's own file; the thumbnail if that file is gone."""
        if (shelf := self._shelf_of(photo)) is not None:
            return shelf.original(photo)
        path = self._originals.get(photo.id)
        return path if path is not None and path.exists() else self.thumbnail(photo)

    def _shelf_of(self, photo: Photo) -> Album | None:
        """The album of the samples that the page opened on, if it has this photo's files."""
        samples = self.samples
        return None if samples is None or photo.id not in samples.album._originals else samples.album

    def show_samples(self, shelf: Session) -> None:
        """Show the samples of another session and share its files, unless this album has photos."""
        gallery = shelf.album._gallery
        with self._changing:
            if self.awaits_samples and gallery is not None and not self.photos:
                self._gallery, self.shows_samples, self.samples = gallery.copy(), True, shelf
            self.awaits_samples = False

    @property
    def has_samples_only(self) -> bool:
        """Whether the photos are the samples, and nothing of the visitor's."""
        return self.shows_samples and (self.samples is None or self.photos == self.samples.album.photos)

    def set_aside(self) -> None:
        """Show no photos, but keep those shown so far for ``take_back``. Samples are not kept: one click brings them again."""
        with self._changing:
            # Samples count less than the visitor's own photos.
            expendable = self.has_samples_only or (self.shows_samples and self.aside)
            if self._gallery is not None and self._gallery.photos and not expendable:
                self._aside = self._gallery
            self._gallery, self._removed, self.shows_samples, self.awaits_samples = None, [], False, False

    def take_back(self, engine: SGLora) -> None:
        """Put back the photos that were removed one by one. If there are none, show the photos that were set aside; the
        visitor's own photos, if shown until then, are set aside instead."""
        self._check(engine)
        if self._removed:
            with self._changing:
                removed, self._removed = self._removed, []
            for photos in reversed(removed):
                self.gallery(engine).put_back(photos)
            return
        with self.photos_change(), self._changing:
            gallery, current = self._aside, self._gallery
            if gallery is None:
                return
            self._aside = current if current is not None and current.photos and not self.has_samples_only else None
            self.shows_samples = False
            if gallery.backbone.prefix_key != engine.backbone.prefix_key:
                gallery, _ = self._indexed(engine, gallery.photos, self.note_progress)
            self._gallery = gallery

    @property
    def aside(self) -> int:
        """How many photos ``take_back`` brings back."""
        removed = sum(map(len, self._removed))
        return removed or (0 if self._aside is None else len(self._aside.photos))

    def remove(self, engine: SGLora, photo: str) -> None:
        """Remove a photo, so that ``take_back`` can bring it back."""
        if removed := self.gallery(engine).remove([photo]):
            self._removed.append(removed)

    @property
    def folder(self) -> Path:
        """A folder for this visitor's files, deleted with the last tab. No visitor can guess its name. It lies where Gradio
        serves files from, so that Gradio makes no copies."""
        with self._counting:
            if self._folder is None:
                parent = Path(get_upload_folder())
                parent.mkdir(parents=True, exist_ok=True)
                self._folder = tempfile.TemporaryDirectory(prefix=f"{FOLDER_PREFIX}{secrets.token_hex(8)}-", dir=parent)
            return Path(self._folder.name)

    def new_file(self, name: str) -> Path:
        """A path in a new folder, for a download. Old folders of downloads are deleted, except the last few."""
        folders = sorted(self.folder.glob(f"{DOWNLOAD_PREFIX}*"), key=lambda folder: folder.stat().st_mtime)
        for folder in folders[: len(folders) - KEPT_DOWNLOADS + 1]:
            shutil.rmtree(folder, ignore_errors=True)
        folder = self.folder / f"{DOWNLOAD_PREFIX}{secrets.token_hex(8)}"
        folder.mkdir()
        return folder / name

    def write(self, name: str, content: bytes) -> Path:
        """Write a new file for a download."""
        path = self.new_file(name)
        path.write_bytes(content)
        return path

    @property
    def files(self) -> Path | None:
        folder = self._folder
        return None if folder is None else Path(folder.name)

    @property
    def sessions(self) -> list[Session]:
        """The sessions of the tabs that show this album."""
        return _alive(self._sessions)

    def enter(self, session: Session) -> None:
        self._sessions[id(session)] = session

    def leave(self, session: Session) -> None:
        """Note that a tab no longer shows it. With the last tab, the album is emptied."""
        self._sessions.pop(id(session), None)
        if not self.sessions:
            self.close()

    def close(self, reason: str = "") -> None:
        """Forget everything now, including what the tabs show. ``reason``: the notice at the visitor's next event."""
        if reason and (self.memory or self._folder is not None):
            self.gone = reason
        for session in self.sessions:
            session.gone = self.gone
            session.forget()
        with self._changing:
            gallery, self._gallery, self._aside, self._removed = self._gallery, None, None, []
            self._resting, self.asked, self.shows_samples, self.samples = (), None, False, None
            for store in (self.trained_on, self._own_experts, self._names, self._originals):
                store.clear()
        with self._counting:
            self._borrowed.clear()
            folder, self._folder = self._folder, None
        if gallery is not None:
            gallery.clear()
        if folder is not None:
            folder.cleanup()
        self.measured = 0


# Weak references: an album lives only as long as the state of a tab holds it.
_open_albums: weakref.WeakValueDictionary[str, Album] = weakref.WeakValueDictionary()


def open_album(token: object) -> Album | None:
    """The album that belongs to a browser's token, if it still exists."""
    return _open_albums.get(token) if isinstance(token, str) else None


def open_albums() -> list[Album]:
    """All albums of visitors, the longest unused first."""
    return sorted(_alive(_open_albums), key=lambda album: album.used)


def _alive(held: weakref.WeakValueDictionary[Any, Held]) -> list[Held]:
    """The values that still exist. Iterating over the dictionary itself fails if another thread adds to it."""
    return [value for reference in held.valuerefs() if (value := reference()) is not None]


def watched(backbone: str) -> bool:
    """Whether a visitor who chose this repository has an open tab, a running event, or had one a moment ago."""
    now = time.monotonic()
    return any(a.backbone == backbone and (a.tabs or a.busy or now - a.used < QUIET_SECONDS) for a in open_albums())


def rest(backbone: str) -> None:
    """Make every album with this repository drop its index, so that the backbone can be freed."""
    for album in open_albums():
        if album.backbone == backbone:
            album.rest()


def left(tab: str | None) -> None:
    """Note that a tab was closed or reloaded."""
    for album in open_albums():
        if tab in album.tabs:
            album.tabs.remove(tab)
            album.last_left = time.monotonic()
