"""One visitor: photos, names, own experts and files. All tabs of a browser share them through its secret token."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from app.answers.question import Question
from app.languages import texts
from app.models.engines import DEFAULT
from app.photos.files import Files
from app.visitors.kept_names import KeptNames
from app.visitors.limits import VISITORS, Limits
from core.common.errors import GalleryError, StudioError
from core.experts.own import OwnExperts
from core.names.teach import TaughtNames
from core.retrieval.gallery import Gallery, Photo, Progress, Removed
from core.retrieval.photo_set import background
from core.sglora.engine import SGLora

PHOTO_LIMIT = 20_000
LISTED = 1_000  # photos that the page lists; it searches all of them
AWAITED_SECONDS = 120  # an upload that has waited longer than this for its turn no longer counts as ``adding``
RELOAD_SECONDS = 10  # adding goes on for so long after the last tab was closed: it may be a reload


class Switched(NamedTuple):
    before: str  # the repository used before
    photos: int  # number of photos that were indexed again
    lost: tuple[Photo, ...]  # photos whose files are gone
    waiting: tuple[str, ...]  # own experts, which stay with the repository before


class Adding(NamedTuple):
    begin: float
    done: int = 0
    total: int = 0  # 0: not known yet

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the photos so far; None before the first one."""
        return (time.perf_counter() - self.begin) / self.done * (self.total - self.done) if self.done else None


class Visitor:
    def __init__(self, token: str = "", limits: Limits = Limits(), backbone: str = DEFAULT) -> None:
        self.token, self.limits = token, limits
        self.address = ""  # network address of the last event
        self.used = time.monotonic()  # time of the last event
        self.backbone = backbone  # name of the repository that this visitor chose, as in ``Models``
        self.files = Files(limits.disk / VISITORS)
        self.sessions: set[str] = set()  # Gradio's session hashes of the open tabs
        self.last_left = math.inf  # when the last tab was closed; infinity: not closed
        self.marks: dict[Question, dict[str, bool]] = {}  # photos marked as right or wrong, by question
        self.lines: dict[tuple[Question, int], dict[str, int]] = {}  # places that were asked about (app.actions.line)
        self.trained_on: dict[str, frozenset[str]] = {}  # ids of the photos that trained an own expert, by its name
        self.learned: tuple[object, str] | None = None  # photos whose keywords were learned last, and HTML: what came of it
        self.removed: Removed = ()  # the photos that were removed last
        self.progress: Adding | None = None  # None: no photos are being added or indexed again
        self.stopped = False  # the visitor stopped adding photos
        self.measured = 0  # ``memory`` with that of the tabs, after the last event
        self._awaited_until = 0.0
        self._events = 0
        self._gallery: Gallery | None = None
        self._own_experts: dict[str, OwnExperts] = {}  # by repository, as the names
        self._names: dict[str, TaughtNames] = {}
        self.kept: KeptNames | None = None  # names as the browser keeps them; None before it sent them
        self.names_lost = False  # whether those were damaged; until a notice is shown
        self._counting, self._changing = threading.Lock(), threading.Lock()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the visitor's data from being deleted while an event uses it."""
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
        """Whether all tabs have been closed for longer than a reload takes."""
        return not self.sessions and time.monotonic() - self.last_left > RELOAD_SECONDS

    @property
    def memory(self) -> int:
        """Bytes of photos, own experts and names. Small objects are not counted."""
        experts = [entry for own in list(self._own_experts.values()) for entry in own.entries]
        names = [entry for names in list(self._names.values()) for entry in names.entries]
        parts = self._gallery, self.kept, *experts, *names, *(entry for _, entry in self.removed)
        return sum(part.memory for part in parts if part is not None)

    @property
    def has_own(self) -> bool:
        return self.has_unkept or any(names.entries for names in list(self._names.values()))

    @property
    def has_unkept(self) -> bool:
        """Whether there are photos or experts. The browser keeps only names."""
        return bool(self.photos or self.removed) or any(own.entries for own in list(self._own_experts.values()))

    # Photos

    @property
    def photos(self) -> tuple[Photo, ...]:
        """The photos so far; needs no engine."""
        gallery = self._gallery  # read once: another event may replace it
        return () if gallery is None else gallery.photos

    @property
    def limit(self) -> int:
        return PHOTO_LIMIT if self._gallery is None else self._gallery.holds_at_most

    def gallery(self, engine: SGLora) -> Gallery:
        """The photos. Raises GalleryError: when another tab switched to another backbone after this event had begun."""
        self._check(engine)
        with self._changing:
            self._gallery = self._gallery or self._empty_gallery(engine)
            return self._gallery

    def _empty_gallery(self, engine: SGLora) -> Gallery:
        return Gallery(engine.backbone, PHOTO_LIMIT, self.limits.memory // VISITORS)  # no visitor takes all memory

    def _check(self, engine: SGLora) -> None:
        if self._gallery is not None and engine.backbone.prefix_key != self._gallery.backbone.prefix_key:
            raise GalleryError(texts.SWITCHED_MEANWHILE)

    @contextmanager
    def photos_change(self) -> Iterator[None]:
        """Held while photos are added or indexed again. Raises GalleryError: when another event holds it."""
        with self._counting:
            if self.progress is not None:
                raise GalleryError(texts.PHOTOS_BUSY)
            self.progress = Adding(time.perf_counter())
        try:
            yield
        finally:
            self.progress, self.stopped = None, False

    def note_progress(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress = self.progress._replace(done=done, total=total)

    def await_photos(self, awaited: bool = True) -> None:
        """Note whether uploaded photos wait for their turn."""
        self._awaited_until = time.monotonic() + AWAITED_SECONDS if awaited else 0.0

    @property
    def adding(self) -> bool:
        """Whether any tab is adding photos or has photos that wait for their turn."""
        return self.progress is not None or time.monotonic() < self._awaited_until

    def remove(self, ids: Sequence[str]) -> None:
        if self._gallery is not None:
            self.removed = self._gallery.remove(ids) or self.removed

    def take_back(self) -> None:
        removed, self.removed = self.removed, ()
        if self._gallery is not None:
            self._gallery.put_back(removed)

    def delete_unused_files(self) -> None:
        self.files.delete_unused({photo.id for photo in (*self.photos, *(entry.photo for _, entry in self.removed))})

    def thumbnails(self) -> list[tuple[str, str]]:
        """(file, name) of the first LISTED photos' thumbnails."""
        shown = [(self.files.thumbnail(photo), photo.name) for photo in self.photos[:LISTED]]
        return [(str(path), name) for path, name in shown if path.exists()]

    def switch(self, name: str, engine: SGLora, progress: Progress | None = None) -> Switched:
        """Index the photos with another repository's backbone. Own experts stay with the repository before."""
        with self.photos_change():
            gallery, before, photos, lost, indexed = self._gallery, self.backbone, self.photos, (), 0
            if gallery is None or gallery.backbone.prefix_key != engine.backbone.prefix_key:
                gallery, files = self._empty_gallery(engine), self.files.originals
                gallery.add([(f"{p.folder}/{p.name}", files[p.id]) for p in photos if p.id in files], progress)
                there, now = {photo.id for photo in gallery.photos}, self.photos
                lost = tuple(photo for photo in photos if photo.id not in there)
                # Photos may have been removed, and captions written, meanwhile.
                gallery.remove(there - {photo.id for photo in now})
                gallery.set_captions({p.name: p.captions for p in now if p.captions and p.id in there})
                indexed = len(gallery.photos)
            waiting = self.own_names if name != before else ()
            with self._changing:
                self.backbone, self._gallery, self.removed = name, gallery, ()
        return Switched(before, indexed, lost, waiting)

    # Own experts and names

    def engine(self, shared: SGLora) -> SGLora:
        own_experts = self.own_experts(shared)
        return own_experts.engine(shared) if own_experts.entries else shared

    def own_experts(self, engine: SGLora) -> OwnExperts:
        """Those for the chosen repository."""
        self._check(engine)
        return self._own_experts.get(self.backbone) or OwnExperts(engine.repository)

    @property
    def own_names(self) -> tuple[str, ...]:
        """The names of own experts for the chosen repository; needs no engine."""
        own = self._own_experts.get(self.backbone)
        return tuple(entry.name for entry in own.entries) if own is not None else ()

    def change_own_experts(self, engine: SGLora, change: Callable[[OwnExperts], OwnExperts]) -> OwnExperts:
        with self._changing:
            self._own_experts[self.backbone] = own_experts = change(self.own_experts(engine))
            return own_experts

    def names(self, engine: SGLora) -> TaughtNames:
        """The names for the chosen backbone: those on the server, else those from the browser."""
        self._check(engine)
        if self.backbone not in self._names and self.kept is not None:
            self._names[self.backbone] = TaughtNames(engine.backbone)
            try:
                self._names[self.backbone] = self.kept.names(engine.backbone)
            except StudioError:
                self.names_lost = True
        names, gallery = self._names.get(self.backbone) or TaughtNames(engine.backbone), self._gallery
        if names.backbone is not engine.backbone:  # it was loaded again
            names = TaughtNames(engine.backbone, names.entries)
        return names.among(background([gallery.contents]) if names.entries and gallery else None)

    def hear_names(self, memory: object) -> None:
        """Store the names that the browser sends first. Names already on the server take precedence."""
        if self.kept is None:
            try:
                self.kept = KeptNames.of(memory)
            except StudioError:
                self.kept, self.names_lost = KeptNames(), True

    def change_names(self, engine: SGLora, change: Callable[[TaughtNames], TaughtNames]) -> TaughtNames:
        with self._changing:
            changed = change(self.names(engine))
            changed.on(None)  # raises AdapterError, and changes nothing, if no LoRA can teach this backbone names
            self._names[self.backbone] = changed
            return changed

    @property
    def taught(self) -> tuple[tuple[str, int], ...]:
        """(name, number of photos) of every name for the chosen backbone; needs no engine."""
        names = self._names.get(self.backbone)
        return tuple((entry.name, len(entry.photos)) for entry in names.entries) if names else ()

    def close(self) -> None:
        with self._changing:
            gallery, self._gallery, self.removed, self.learned = self._gallery, None, (), None
            for store in (self.trained_on, self._own_experts, self._names):
                store.clear()
        if gallery is not None:
            gallery.clear()
        self.files.close()
