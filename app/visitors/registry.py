"""All visitors by token, and the limits of time, memory and disk for their data."""

import logging
import math
import secrets
import shutil
import threading
import time
from collections import Counter, OrderedDict
from contextlib import suppress

from app.models.engines import DEFAULT
from app.photos.files import FOLDER_PREFIX, bytes_of
from app.server.scratch import upload_folder
from app.visitors.limits import Limits
from app.visitors.tab import Sources, Tab
from app.visitors.visitor import Visitor
from core.common.runtime import give_back

log = logging.getLogger(__name__)
MOST_TABS = 2_000  # beyond them, the longest unused tab is ended: its answer is lost, its visitor's photos and names stay
REMEMBERED = 10_000  # visitors, before one without data is ended
SWEEPS = 10  # number of sweeps within the time that data is kept
UNREAD_SECONDS = 10 * 60  # an upload is kept so long on a full disk: its event may wait in the queue
READ_SECONDS = 120  # age at which an upload that was added to a visitor's photos is deleted
RESERVE = 32 * 2**20  # bytes of disk kept free for what the app itself writes


class Visitors:
    """Finds visitors and tabs, and deletes data beyond the limits: first of the network address with the most data, its longest
    unused visitor first."""

    def __init__(self, limits: Limits = Limits(), backbone: str = DEFAULT, sources: Sources = Sources()) -> None:
        self.limits, self._backbone, self.sources = limits, backbone, sources
        self._visitors: dict[str, Visitor] = {}
        self._tabs: OrderedDict[str, Tab] = OrderedDict()  # by Gradio's session hash, the last used last
        self._lock = threading.RLock()
        self._uploads, self._totals = 0, threading.Lock()  # bytes of uploads, a running total
        self._walked: tuple[float, float] | None = None  # when all uploads were last looked through, and how long that took

    def all(self) -> list[Visitor]:
        """The longest unused first."""
        with self._lock:
            return sorted(self._visitors.values(), key=lambda visitor: visitor.used)

    def visitor(self, token: str, address: str = "") -> Visitor:
        with self._lock:
            visitor = self._visitors.get(token)
            if visitor is None:
                visitor = self._visitors[token] = Visitor(token, self.limits, self._backbone)
                if len(self._visitors) > REMEMBERED:  # another one ends, if any has nothing to lose
                    for other in [v for v in self.all() if not (v.has_own or v.busy or v is visitor)][:1]:
                        self._end(other)
            visitor.address, visitor.used = address or visitor.address, time.monotonic()
            return visitor

    def tab(self, session: str, token: str = "", address: str = "") -> tuple[Tab, bool]:
        """The tab of a session, which shows the visitor of this token, and whether it is new: of events at once, only for the
        first. Without a token, a new tab shows a new visitor."""
        with self._lock:
            tab = before = self._tabs.get(session)
            # The session cannot be the token: it is in URLs, and so in a proxy's log.
            visitor = self.visitor(token or (secrets.token_hex(16) if tab is None else tab.visitor.token), address)
            if tab is None or tab.visitor is not visitor:
                self._end_tab(session)
                tab = self._tabs[session] = Tab(visitor, sources=self.sources)
                visitor.sessions.add(session)
                visitor.last_left = math.inf
            self._tabs.move_to_end(session)
            while len(self._tabs) > MOST_TABS:
                self._end_tab(next(iter(self._tabs)))
            return tab, tab is not before

    def find_tab(self, session: str) -> Tab | None:
        return self._tabs.get(session)

    def leave(self, session: str) -> None:
        """The tab was closed or reloaded."""
        with self._lock:
            if (tab := self._end_tab(session)) is not None:
                tab.closed, tab.visitor.last_left = True, time.monotonic()

    def _end_tab(self, session: str) -> Tab | None:
        if (tab := self._tabs.pop(session, None)) is not None:
            tab.visitor.sessions.discard(session)
        return tab

    def _end(self, visitor: Visitor) -> None:
        with self._lock:
            if self._visitors.get(visitor.token) is visitor:
                del self._visitors[visitor.token]
            for session in list(visitor.sessions):
                self._end_tab(session)
        visitor.close()

    # Limits

    def start(self) -> None:
        def sweeps() -> None:
            while True:
                time.sleep(min(60.0, self.limits.keep_seconds / SWEEPS))
                try:
                    self.sweep()
                except Exception:
                    log.exception("a sweep failed")

        threading.Thread(target=sweeps, name="sweep", daemon=True).start()

    def sweep(self) -> None:
        """Delete data that was unused for too long, then enforce the limits of memory and disk."""
        for visitor in self.all():
            if time.monotonic() - visitor.used >= self.limits.keep_seconds and not visitor.busy:
                self._end(visitor)
            self._measure(visitor)
        self._delete_uploads(self.limits.keep_seconds)
        self._make_room({visitor: visitor.measured for visitor in self.all()}, self.limits.memory)
        self.make_room_on_disk()
        give_back()

    def _measure(self, visitor: Visitor) -> None:
        with self._lock:
            tabs = [self._tabs[session] for session in visitor.sessions]
        visitor.measured = visitor.memory + sum(tab.memory for tab in tabs)

    def settle(self, visitor: Visitor) -> None:
        """After an event: measure the visitor's memory, and make room if all together take too much."""
        self._measure(visitor)
        self._make_room({each: each.measured for each in self.all()}, self.limits.memory, visitor)

    def make_room_on_disk(self, spared: Visitor | None = None) -> None:
        """Delete visitors' data while their files exceed their part of the disk limit. Files of other programs do not count."""
        self._make_room({visitor: visitor.files.bytes for visitor in self.all()}, self.limits.kept_disk, spared)

    def _make_room(self, sizes: dict[Visitor, int], limit: float, spared: Visitor | None = None) -> None:
        with self._lock:
            while True:
                visitors, taken = [visitor for visitor in self.all() if sizes.get(visitor)], Counter[str]()
                for visitor in visitors:
                    taken[visitor.address] += sizes[visitor]
                candidates = [visitor for visitor in visitors if not visitor.busy and visitor is not spared]
                if taken.total() <= limit or not candidates:
                    return
                self._end(max(candidates, key=lambda visitor: taken[visitor.address]))  # of equal ones, the longest unused

    def could_fit(self, wanted: int) -> bool:
        """Whether uploads of so many bytes fit on the disk. Deletes old uploads if needed, but no visitor's data. For that, it
        looks through all of them, at most a tenth of the time."""
        if self._walked is None:
            self._delete_uploads(math.inf)
            self._walked = 0.0, 0.0
        if not self._fits(wanted) and time.monotonic() >= self._walked[0] + 10 * self._walked[1]:
            self._delete_uploads(UNREAD_SECONDS)
        return self._fits(wanted)

    def count_upload(self, size: int) -> None:
        """Note bytes that an upload wrote, or, below zero, took back."""
        with self._totals:
            self._uploads += size

    def _fits(self, wanted: int) -> bool:
        folder = upload_folder()
        free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
        return self._uploads + wanted <= self.limits.disk - self.limits.kept_disk and wanted < free - RESERVE

    def _delete_uploads(self, seconds: float) -> None:
        """Delete uploads of at least this age, or READ_SECONDS for those that a visitor's photos keep as a hard link. Younger
        ones stay, since an equal upload of another visitor has the same path."""
        begin, before = time.monotonic(), self._uploads
        sizes = bytes_of(folder := upload_folder(), skip=FOLDER_PREFIX)
        for path in list(sizes):
            with suppress(OSError):  # it is gone, or its folder is not empty
                stat = path.stat()
                age = time.time() - max(stat.st_mtime, stat.st_ctime)
                if age >= (min(seconds, READ_SECONDS) if stat.st_nlink > 1 else seconds):
                    path.unlink()
                    del sizes[path]
                    if path.parent != folder:
                        path.parent.rmdir()
        with self._totals:  # with what came meanwhile
            self._uploads += sum(sizes.values()) - before
        self._walked = (end := time.monotonic()), end - begin
