"""From added files to decoded photos: read, told apart by content, and decoded in other processes ahead of the model."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from core.common.digest import digest
from core.common.errors import PhotoError
from core.common.text import safe_name
from core.data.decode_pool import DecodedPhoto, Upload
from core.data.image_io import photo_bytes

BATCH = 32  # photos that the model takes at once; as many more are decoded meanwhile
MAX_WAITING = 64 * 2**20  # bytes of files that wait to be decoded
DEEPEST = 8  # folders of a source that are kept
UNREADABLE = "the file cannot be read."

log = logging.getLogger(__name__)

Source = Path | tuple[str, bytes | Path]


class Failure(NamedTuple):
    """A file that did not become a photo, and why."""

    name: str
    reason: str


class Decoded(NamedTuple):
    """A decoded file: its place among the sources, the hash of its content, its safe name, and what is left of it."""

    position: int
    id: str
    name: str
    photo: DecodedPhoto


def source_folder(source: Source) -> str:
    """Where a source says that it lay, as safe names between slashes; "" for a path."""
    parts = () if isinstance(source, Path) else PurePosixPath(source[0].replace("\\", "/")).parts[:-1]
    return "/".join(safe_name(part) for part in parts[:DEEPEST] if part.strip("./"))


def content_id(content: bytes) -> str:
    """32 hex digits that only this content has."""
    return digest(content)[:32]


class Intake:
    """Reads sources in order and yields batches of decoded photos; what does not become one is kept for the report.

    Args:
        upload: where files are decoded. holds: whether a content is there already. stop: whether the caller has left.
        room: how many more photos there may be, batches that were yielded before counted as there. full: the message where
            there is none.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        upload: Upload,
        holds: Callable[[str], bool],
        room: Callable[[], int],
        full: str,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.names = [safe_name(source.name if isinstance(source, Path) else source[0]) for source in sources]
        self.done = 0
        self._contents = [source if isinstance(source, Path) else source[1] for source in sources]
        self._upload, self._stop = upload, stop
        self._holds, self._room, self._full = holds, room, full
        self._queue: deque[tuple[int, str, int, Future[DecodedPhoto]]] = deque()
        self._waiting = 0
        self._ready: list[Decoded] = []
        self._seen: set[str] = set()
        self._repeated: list[tuple[int, str]] = []
        self._failed: dict[int, str] = {}
        self._broken: dict[str, str] = {}

    def batches(self) -> Iterator[list[Decoded]]:
        """Decoded photos in order, at most BATCH at a time; the next are decoded while the caller works on these."""
        for position, (name, content) in enumerate(zip(self.names, self._contents, strict=True)):
            if self._stop():
                return
            try:
                content = photo_bytes(content, name) if isinstance(content, Path) else content
            except Exception as error:
                self._failed[position] = _reason(name, error)
                continue
            key = content_id(content)
            if key in self._seen or self._holds(key):
                self._repeated.append((position, key))
                continue
            if self._room() <= len(self._queue) + len(self._ready):
                yield from self._settled(position, 0)  # some of those on their way may turn out to be damaged
            if self._room() <= 0:
                self._failed[position] = self._full
                continue
            self._seen.add(key)
            self._queue.append((position, key, len(content), self._upload.submit(name, content)))
            self._waiting += len(content)
            yield from self._settled(position + 1, BATCH)
        yield from self._settled(len(self._contents), 0)
        self.done = len(self._contents)

    def duplicates(self) -> list[tuple[int, str]]:
        """(position, content id) of files whose content was there already."""
        return [(position, key) for position, key in self._repeated if key not in self._broken]

    def failures(self) -> tuple[Failure, ...]:
        """Files that could not be read or found no room, in order."""
        repeated = {position: self._broken[key] for position, key in self._repeated if key in self._broken}
        return tuple(Failure(self.names[position], reason) for position, reason in sorted((self._failed | repeated).items()))

    def _settled(self, reached: int, most: int) -> Iterator[list[Decoded]]:
        """Full batches while more photos than ``most`` or MAX_WAITING wait to be decoded; with 0, the rest as well."""
        while len(self._queue) > most or self._waiting > MAX_WAITING:
            position, key, size, future = self._queue.popleft()
            self._waiting -= size
            try:
                self._ready.append(Decoded(position, key, self.names[position], future.result()))
            except Exception as error:
                self._failed[position] = self._broken[key] = _reason(self.names[position], error)
            if len(self._ready) == BATCH:
                yield self._batch(reached)
        if self._ready and not most:
            yield self._batch(reached)

    def _batch(self, reached: int) -> list[Decoded]:
        batch, self._ready = self._ready, []
        self.done = reached - len(self._queue)
        return batch


def _reason(name: str, error: Exception) -> str:
    """The error's text without the name it begins with; whatever a photo's reading raises is this photo's refusal."""
    if isinstance(error, PhotoError):
        return str(error).removeprefix(f"{name}: ")
    log.error("%r could not be read", name, exc_info=error)
    return UNREADABLE
