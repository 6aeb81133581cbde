"""Read a few named files from a visitor's ZIP, with size limits and without writing to disk."""

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from core.common.errors import StudioError

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


def unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """The content of a file, at most ``most`` + 1 bytes: a ZIP may state a false size. Raises one of DAMAGE."""
    if member.compress_type not in COMPRESSIONS:
        raise NotImplementedError
    with archive.open(member) as stream:
        return stream.read(most + 1)


def read_members(data: bytes, limits: Mapping[str, int], label: str, error: type[StudioError]) -> dict[str, bytes]:
    """The content of each file in ``limits``, from the top of the ZIP or else one of its folders.

    ``limits``: maximum unpacked bytes of each file. ``label``: name of the ZIP in errors. Raises ``error``: when it is no ZIP,
    locked or damaged, or a file is missing or too large.
    """
    if len(data) > sum(limits.values()):
        raise error(f"{label} is larger than {sum(limits.values()) // 2**20} MB.")
    contents: dict[str, bytes] = {}
    try:
        with open_zip(data) as archive:
            paths = [(PurePosixPath(member.filename), member) for member in archive.infolist()]
            for name, limit in limits.items():
                named = [(len(path.parts), m) for path, m in paths if path.name == name and path.parts[0] != "__MACOSX"]
                if not named or (shallowest := min(named, key=lambda each: each[0]))[0] > 2:
                    raise error(f"{label} lacks {name}.")
                contents[name] = unpacked(archive, shallowest[1], limit)
                if len(contents[name]) > limit:
                    raise error(f"{label}: {name} is larger than {limit // 2**20} MB unpacked.")
    except DAMAGE:
        raise error(f"{label} is damaged or not a ZIP file that can be read.") from None
    return contents
