"""From added files to decoded photos: read, deduplicated by content, and decoded in other processes ahead of the model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from core.common.digest import digest
from core.common.errors import PhotoError
from core.common.messages import Message, message
from core.common.text import safe_name
from core.data.decode_pool import DecodedPhoto
from core.data.image_io import photo_bytes
from core.data.photo_errors import photo_error, reason_of
from core.data.read_ahead import read_ahead

DEEPEST = 8  # maximum folder levels kept for a source

log = logging.getLogger(__name__)

Source = Path | tuple[str, bytes | Path]


class Failure(NamedTuple):
    """A file that gave no photo, and the reason."""

    name: str
    reason: Message


class Decoded(NamedTuple):
    """A decoded file: the hash of its content, its safe name, the folder in its source's name, and the decoded photo."""

    id: str
    name: str
    folder: str
    photo: DecodedPhoto


def source_folder(source: Source) -> str:
    """The folder in a source's name, as safe names between slashes. "" for a path."""
    parts = () if isinstance(source, Path) else PurePosixPath(source[0].replace("\\", "/")).parts[:-1]
    return "/".join(safe_name(part) for part in parts[:DEEPEST] if part.strip("./"))


def content_id(content: bytes) -> str:
    """The id of a file's content: 32 hex digits of its hash."""
    return digest(content)[:32]


class Intake:
    """Reads sources in order and yields batches of decoded photos. Collects the other files for the report.

    Args:
        decode: decodes a photo from a file's name and content; called in any thread.
        holds: whether the gallery has a content id already.
        room: how many more photos fit, with all yielded batches counted.
        full: the reason if no more photos fit.
        stop: whether the caller has left.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        decode: Callable[[str, bytes], DecodedPhoto],
        holds: Callable[[str], bool],
        room: Callable[[], int],
        full: Message,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.done = 0  # processed files
        self.ids: dict[int, str] = {}  # the photo id of each file, by its number
        self.duplicates: list[str] = []  # names of files whose content the gallery already has
        self.failed: list[Failure] = []
        self._names = [safe_name(source.name if isinstance(source, Path) else source[0]) for source in sources]
        self._folders = [source_folder(source) for source in sources]
        self._contents = [source if isinstance(source, Path) else source[1] for source in sources]
        self._decode, self._holds, self._room, self._full, self._stop = decode, holds, room, full, stop
        self._stopped = False
        self._seen: set[str] = set()

    def batches(self) -> Iterator[list[Decoded]]:
        """Yield batches of decoded photos in order. The next photos are decoded while the caller uses a batch."""
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
                    yield ready  # committed photos may take less memory than estimated
                    ready = []
                if key and self._room() <= len(ready):
                    self.failed.append(Failure(name, self._full))
                elif isinstance(photo, Exception):
                    self.failed.append(Failure(name, _reason(name, photo)))
                else:
                    self._seen.add(key)
                    self.ids[position] = key
                    ready.append(Decoded(key, name, self._folders[position], photo))
            if ready:
                yield ready

    def _wanted(self, _: int) -> bool:
        self._stopped = self._stopped or self._stop()
        return not self._stopped

    def _read(self, position: int) -> tuple[str, DecodedPhoto | Exception | None]:
        """A file's content id ("": unreadable), and its photo, error, or None if the gallery has it already."""
        name, content, key = self._names[position], self._contents[position], ""
        try:
            content = photo_bytes(content, name) if isinstance(content, Path) else content
            key = content_id(content)
            if self._holds(key):
                return key, None
            if self._room() <= 0:
                return key, photo_error(name, self._full)
            return key, self._decode(name, content)
        except Exception as error:
            return key, error


def _reason(name: str, error: Exception) -> Message:
    """The reason of an error. Unexpected errors are logged and reject this file only."""
    if isinstance(error, PhotoError):
        return reason_of(error)
    log.error("%r could not be read", name, exc_info=error)
    return message("CORE_UNREADABLE")
