"""From added files to decoded photos: read, told apart by content, and decoded in other processes ahead of the model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from core.common.digest import digest
from core.common.errors import PhotoError
from core.common.text import safe_name
from core.data.decode_pool import DecodedPhoto
from core.data.image_io import photo_bytes
from core.data.read_ahead import read_ahead

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
        decode: makes a photo of a file's name and content, in any thread. holds: whether a content is there already.
        room: how many more photos there may be, batches that were yielded before counted as there. full: the message where
            there is none. stop: whether the caller has left.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        decode: Callable[[str, bytes], DecodedPhoto],
        holds: Callable[[str], bool],
        room: Callable[[], int],
        full: str,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.done = 0  # files that were looked at
        self.ids: dict[int, str] = {}  # of the photo that each file is, by its place
        self.duplicates: list[str] = []  # names of files whose content was there already
        self.failed: list[Failure] = []
        self._names = [safe_name(source.name if isinstance(source, Path) else source[0]) for source in sources]
        self._contents = [source if isinstance(source, Path) else source[1] for source in sources]
        self._decode, self._holds, self._room, self._full, self._stop = decode, holds, room, full, stop
        self._stopped = False
        self._seen: set[str] = set()

    def batches(self) -> Iterator[list[Decoded]]:
        """Decoded photos in order, some at a time; the next are decoded while the caller works on these."""
        for batch in read_ahead(takewhile(self._wanted, range(len(self._names))), self._read):
            if self._stopped:
                return
            ready: list[Decoded] = []
            for position, (key, photo) in batch:
                name, self.done = self._names[position], position + 1
                if photo is None or key in self._seen:
                    self.duplicates.append(name)
                    self.ids[position] = key
                    continue
                if key and ready and self._room() <= len(ready):
                    yield ready  # they may take less room than was set aside for them
                    ready = []
                if key and self._room() <= len(ready):
                    self.failed.append(Failure(name, self._full))
                elif isinstance(photo, Exception):
                    self.failed.append(Failure(name, _reason(name, photo)))
                else:
                    self._seen.add(key)
                    self.ids[position] = key
                    ready.append(Decoded(position, key, name, photo))
            if ready:
                yield ready

    def _wanted(self, _: int) -> bool:
        self._stopped = self._stopped or self._stop()
        return not self._stopped

    def _read(self, position: int) -> tuple[str, DecodedPhoto | Exception | None]:
        """The id of a file's content, "" where it cannot be read, and the photo; None: it was there before."""
        name, content, key = self._names[position], self._contents[position], ""
        try:
            content = photo_bytes(content, name) if isinstance(content, Path) else content
            key = content_id(content)
            if self._holds(key):
                return key, None
            if self._room() <= 0:
                return key, PhotoError(self._full)
            return key, self._decode(name, content)
        except Exception as error:
            return key, error


def _reason(name: str, error: Exception) -> str:
    """The error's text without the name it begins with; whatever a photo's reading raises is this photo's refusal."""
    if isinstance(error, PhotoError):
        return str(error).removeprefix(f"{name}: ")
    log.error("%r could not be read", name, exc_info=error)
    return UNREADABLE
