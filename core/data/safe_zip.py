"""Read a few named files from a visitor's ZIP, with size limits and without writing to disk."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from core.common.errors import StudioError

MAX_MEMBERS = 100
MAX_DIRECTORY = 8 * 2**20  # bytes of the central directory: about 100,000 names

# Errors that zipfile was seen to raise on damaged files. MemoryError: the compression asks for too much memory.
DAMAGE = (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, RuntimeError, ValueError, MemoryError)
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others may need unlimited memory to unpack


class _Bounded(io.BufferedReader):
    """A file that limits every read: zipfile reads the central directory at once, whatever size the ZIP claims."""

    def read(self, size: int | None = None, /) -> bytes:
        return super().read(MAX_DIRECTORY if size is None or size < 0 else min(size, MAX_DIRECTORY))


@contextmanager
def open_zip(source: Path | bytes) -> Iterator[zipfile.ZipFile]:
    """Open a ZIP with a limit on its central directory. Reading its files may raise the errors in ``DAMAGE``."""
    raw = source.open("rb", buffering=0) if isinstance(source, Path) else io.BytesIO(source)
    with _Bounded(raw) as file, zipfile.ZipFile(file) as archive:
        yield archive


def read_members(data: bytes, limits: Mapping[str, int], label: str, error: type[StudioError]) -> dict[str, bytes]:
    """The content of each file in ``limits``, from the top of the ZIP or one of its folders.

    ``limits``: maximum unpacked bytes of each file; counted while reading, since a ZIP may state a false size. ``label``: name
    of the ZIP in errors. Raises ``error``: when it is no ZIP, locked, damaged, has too many files, or a file is missing, there
    twice or too large.
    """
    if len(data) > sum(limits.values()):
        raise error("CORE_BUNDLE_LARGE", label=label, mb=sum(limits.values()) // 2**20)
    try:
        with open_zip(data) as archive:
            if len(archive.infolist()) > MAX_MEMBERS:
                raise error("CORE_BUNDLE_MANY", label=label, n=len(archive.infolist()), most=MAX_MEMBERS)
            return {name: _read(archive, name, limit, label, error) for name, limit in limits.items()}
    except DAMAGE:
        raise error("CORE_BUNDLE_DAMAGED", label=label) from None


def _read(archive: zipfile.ZipFile, name: str, limit: int, label: str, error: type[StudioError]) -> bytes:
    paths = [(PurePosixPath(m.filename), m) for m in archive.infolist()]
    named = [(path, m) for path, m in paths if path.name == name and len(path.parts) <= 2 and path.parts[:1] != ("__MACOSX",)]
    if not named:
        raise error("CORE_BUNDLE_LACKS", label=label, name=name)
    depth = min(len(path.parts) for path, _ in named)
    members = [m for path, m in named if len(path.parts) == depth]
    if len(members) > 1:
        raise error("CORE_BUNDLE_TWICE", label=label, name=name)
    if members[0].flag_bits & 1:
        raise error("CORE_BUNDLE_LOCKED", label=label)
    if members[0].compress_type not in COMPRESSIONS:
        raise error("CORE_BUNDLE_UNUSUAL", label=label, name=name)
    with archive.open(members[0]) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise error("CORE_BUNDLE_FILE_LARGE", label=label, name=name, mb=limit // 2**20)
    return content
