"""The limits for all visitors together: how long data is kept, and how much memory and disk it may take."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import math
import os
import shutil
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from gradio.blocks import Block
from gradio.context import LocalContext
from gradio.utils import LRUCache, get_upload_folder
from starlette.middleware import Middleware

from app import texts
from app.errors import friendly
from app.http.guarded_blocks import FOLDER_PREFIX, GuardedBlocks
from app.http.upload_limits import UploadGate
from app.visitors.album import Album, open_albums
from app.visitors.limits import Limits
from app.visitors.session import Session
from app.visitors.tab_states import Tabs, sessions_of
from core.common.runtime import give_back, shared_cores

log = logging.getLogger(__name__)
REMEMBERED_TABS = 10_000  # tabs that are remembered, by name only
SWEEPS = 10  # number of sweeps within the time that data is kept
MESSAGE_SECONDS = 15
SPARED_SECONDS = 60  # an album used within this time is not deleted for an upload
LOOK_SECONDS = 10  # between two scans of all files
BLOCKS = 8 * 2**10  # bytes that a file and its folder take beside its content: a million empty files would take 8 GB
RESERVE = 32 * 2**20  # bytes of disk kept free for what the app itself writes; on a small disk, an eighth


class _File(NamedTuple):
    """A file that a visitor sent: when its content or name last changed, and the bytes that it takes."""

    path: str
    changed: float
    size: int


class Keeper:
    """Deletes what visitors left, and makes room when it is needed, the longest unused first."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits
        self._page: Callable[[], gr.Blocks | None] = lambda: None
        self._tabs: LRUCache[str, bool] = LRUCache(REMEMBERED_TABS)  # tabs seen, and whether they had anything to lose
        self._times = itertools.count(1)  # values for ``missed``, each a new one
        self._taken = -math.inf, 0  # when the disk was last scanned, and the bytes found then or sent since
        self._lock, self._scanning = threading.Lock(), threading.Lock()

    # Events

    def attend(self, page: gr.Blocks, missed: gr.State) -> None:
        """Wrap all events of the page: their errors become messages, and those that take a session pass through here.

        ``missed``: a number that changes when an event tells the tab that something is gone. Its ``change`` updates the page,
        so that all other events cost nothing more.
        """
        self._page = weakref.ref(page)
        for event in page.fns.values():
            if event.fn is None:
                continue
            public = event.api_visibility == "public"
            event.fn = friendly(event.fn, public)
            if not any(isinstance(component, gr.State) for component in event.inputs):
                continue
            event.fn = self._attended(event.fn, None if public else missed, event.outputs)
            if not public:
                event.outputs = [*event.outputs, missed]

    def _attended(self, handler: Callable[..., Any], notice: gr.State | None, outputs: Sequence[Block]) -> Callable[..., Any]:
        """Wrap a handler. ``notice``: the component that changes when something was missed; None for endpoints, which raise."""

        @functools.wraps(handler)
        def wrapped(*args: Any) -> Any:
            session = next(arg for arg in args if isinstance(arg, Session))
            renewed, session.known = not session.known, True
            missed = self._missed(session, renewed)
            if missed and notice is None:
                raise gr.Error(missed, print_exception=False)
            if missed:
                gr.Warning(missed, duration=MESSAGE_SECONDS)
            try:
                with session.album.in_use(), shared_cores():
                    answer = handler(*args)
            finally:
                self._note(session.worth > 0)
            self.make_room_in_memory([session.album])
            if notice is None:
                return answer
            shown = _by_component(answer, outputs)
            changed = missed or renewed  # even a tab that gets no message has a new album by now
            return shown | {notice: next(self._times) if changed else gr.skip()}

        return wrapped

    def _missed(self, session: Session, renewed: bool) -> str:
        """Why the visitor's data is gone; empty if it is not, or if the visitor knows already."""
        had, album = self._note(False), session.album
        reason = session.gone or album.gone
        session.gone = album.gone = ""
        if renewed and had:
            return texts.FORGOTTEN.format(minutes=f"{self.limits.keep_seconds / 60:g}")
        return texts.translated(reason)

    def _note(self, has: bool) -> bool:
        """Remember whether this event's tab has anything to lose. Returns what was remembered before."""
        tab = getattr(LocalContext.request.get(None), "session_hash", None) or ""
        with self._lock:
            had = self._tabs.get(tab, False)
            self._tabs[tab] = has
        return had

    # Time

    def gate(self) -> Middleware:
        return Middleware(UploadGate, most=self.limits.upload, could_fit=self.could_fit, room=self.room_on_disk)

    @asynccontextmanager
    async def lifespan(self, _: Any) -> AsyncIterator[None]:

        async def sweeps() -> None:
            while True:
                await asyncio.sleep(self._period)
                try:
                    await asyncio.to_thread(self.sweep)
                except Exception:
                    log.exception("a sweep failed")

        task = asyncio.create_task(sweeps())
        try:
            yield
        finally:
            task.cancel()

    @property
    def _period(self) -> float:
        return min(60.0, self.limits.keep_seconds / SWEEPS)

    def sweep(self) -> None:
        """Delete what was left long enough ago, and make room for the rest."""
        self.end_sessions()
        self.delete_files()
        self.make_room_in_memory()
        self.make_room_on_disk()
        give_back()

    def end_sessions(self) -> None:
        """End the tabs whose last event is long ago: Gradio's state of all that they showed, and unfetched answers."""
        holder = getattr(self._page(), "state_holder", None)
        if not isinstance(holder, Tabs):  # the page is not launched
            return
        longest = self.limits.keep_seconds - self._period  # the next sweep would be too late
        for tab, used in list(holder.used.items()):
            albums = [session.album for session in sessions_of(holder.session_data.get(tab))]
            last = max([used, *(album.used for album in albums)])
            if time.monotonic() - last >= longest and not any(album.busy for album in albums):
                holder.end(tab)
        holder.forget_answers()

    # Room

    def make_room_in_memory(self, changed: Sequence[Album] | None = None) -> None:
        """Empty albums until the rest fits, the longest unused first; never the one used last.

        ``changed``: the albums to measure again (default: all). To measure all takes longer than a search.
        """
        albums = open_albums()
        for album in albums if changed is None else changed:
            album.measured = album.memory
        if sum(album.measured for album in albums) <= self.limits.memory:
            return
        total = sum(album.memory for album in albums)
        for album in albums[:-1]:
            if total <= self.limits.memory:
                return
            if not album.busy and (taken := album.memory):
                album.close(texts.ENGLISH.MADE_ROOM)
                total -= taken

    def room_on_disk(self, wanted: int) -> str:
        """Make room for ``wanted`` bytes if needed. Returns "", or the reason why they do not fit."""
        folder = Path(get_upload_folder())
        with suppress(OSError):  # reported below
            folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return texts.DISK_READ_ONLY
        with self._lock:
            roomy = self._far_from_full(wanted)
            looked, taken = self._taken
            self._taken = looked, taken + wanted
        return "" if roomy or self.make_room_on_disk(wanted) else texts.DISK_FULL

    def could_fit(self, wanted: int) -> bool:
        """Whether ``wanted`` more bytes would fit. Nothing is deleted for what was only announced."""
        if self._far_from_full(wanted):
            return True
        with self._scanning:  # uploads that come together need one scan
            return self._far_from_full(wanted) or self.make_room_on_disk(wanted, only_look=True)

    def _far_from_full(self, wanted: int) -> bool:
        """Whether the last scan, with what came since, shows enough room: then no new scan is needed."""
        looked, taken = self._taken
        folder = Path(get_upload_folder())
        if time.monotonic() - looked >= LOOK_SECONDS or not folder.exists():
            return False
        return taken + wanted < min(self.limits.disk, _free(folder)) / 2

    def make_room_on_disk(self, wanted: int = 0, only_look: bool = False) -> bool:
        """Delete until ``wanted`` more bytes fit: first uploads that were read, then albums. Returns whether they fit.

        If all that is not enough, nothing is deleted for an upload; a sweep (``wanted`` 0) deletes what it may. An upload has
        no known visitor, so albums used within the last minute are spared. ``only_look``: nothing is deleted.
        """
        folder, files, albums = get_upload_folder(), _files(get_upload_folder()), open_albums()
        sizes = [sum(file.size for file in _files(album.files or "")) for album in albums]  # "": an album without files
        taken = sum(file.size for file in files) + sum(sizes)
        limit = min(self.limits.disk, taken + _free(folder)) if Path(folder).exists() else self.limits.disk
        spared = time.monotonic() - (SPARED_SECONDS if wanted else 0)
        candidates: list[tuple[int, Callable[[], object]]] = [
            (file.size, functools.partial(Path(file.path).unlink, missing_ok=True))
            for file in files
            if time.time() - file.changed >= self.limits.unread_seconds
        ]
        candidates += [
            (size, functools.partial(album.close, texts.ENGLISH.MADE_ROOM))
            for album, size in list(zip(albums, sizes, strict=True))[:-1]
            if size and not album.busy and album.used <= spared
        ]
        lacking, needed = taken + wanted - limit, 0
        for size, _ in candidates:
            if lacking <= 0:
                break
            lacking, needed = lacking - size, needed + 1
        if not only_look and (not wanted or lacking <= 0):
            for size, delete in candidates[:needed]:
                delete()
                taken -= size
        with self._lock:
            self._taken = time.monotonic(), taken + (0 if only_look else wanted)
        return lacking <= 0

    def delete_files(self) -> None:
        """Delete what visitors sent long enough ago; pieces of uploads that ended early go sooner."""
        folder = Path(get_upload_folder())
        for path, changed, _ in _files(folder):
            parent = Path(path).parent
            longest = self.limits.unread_seconds if parent == folder else self.limits.keep_seconds
            if time.time() - changed > longest - self._period:
                Path(path).unlink(missing_ok=True)
                if parent != folder:
                    with suppress(OSError):  # the folder is not empty
                        parent.rmdir()
        page = self._page()
        for names in [] if page is None else page.temp_file_sets:  # Gradio never forgets the names of its files
            names -= {name for name in list(names) if not Path(name).exists()}
        if isinstance(page, GuardedBlocks):
            page.forget_files()


def _by_component(answer: Any, outputs: Sequence[Block]) -> dict[Block, Any]:
    """An event's answer, in any form that Gradio takes, as a dictionary by component."""
    if isinstance(answer, dict) and all(isinstance(key, Block) for key in answer):
        return answer
    if answer == gr.skip():
        return {}
    return dict(zip(outputs, [answer] if len(outputs) == 1 else answer, strict=True))


def _free(folder: str | Path) -> int:
    """Bytes of the disk that visitors' files may still take; a reserve is for what the app itself writes."""
    disk = shutil.disk_usage(folder)
    return disk.free - min(RESERVE, disk.total // 8)


def _files(root: str | Path) -> list[_File]:
    """Files that visitors sent and Gradio keeps, or those in an album's folder, the oldest first."""
    files, folders = list[_File](), [str(root)]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:  # OSError: it is gone by now
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders += [] if entry.name.startswith(FOLDER_PREFIX) else [entry.path]
                    continue
                with suppress(OSError):
                    stat = entry.stat(follow_symlinks=False)
                    files.append(_File(entry.path, max(stat.st_mtime, stat.st_ctime), stat.st_size + BLOCKS))
    return sorted(files, key=lambda file: file.changed)
