"""Read a few named files from a ZIP that a visitor brought, within bounds and without writing anything."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import PurePosixPath

from core.errors import StudioError

MAX_MEMBERS = 100


def read_members(data: bytes, limits: Mapping[str, int], label: str, error: type[StudioError]) -> dict[str, bytes]:
    """The content of each file that ``limits`` names, at the top of the ZIP or in one folder of it.

    Args:
        data: the ZIP. limits: the most bytes of each file, unpacked; counted while reading, not believed.
        label: how to call the ZIP. error: what to raise.

    Raises:
        error: not a ZIP, damaged, locked, too many files, a file missing, there twice or too large.
    """
    if len(data) > sum(limits.values()):
        raise error(f"{label} is larger than {sum(limits.values()) // 2**20} MB.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if len(archive.infolist()) > MAX_MEMBERS:
                raise error(f"{label} holds {len(archive.infolist()):,} files; {MAX_MEMBERS} are the most.")
            return {name: _read(archive, name, limit, label, error) for name, limit in limits.items()}
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, RuntimeError, ValueError):
        raise error(f"{label} is damaged or not a ZIP file that can be read.") from None


def _read(archive: zipfile.ZipFile, name: str, limit: int, label: str, error: type[StudioError]) -> bytes:
    paths = [(PurePosixPath(m.filename), m) for m in archive.infolist()]
    found = [(path, m) for path, m in paths if path.name == name and len(path.parts) <= 2 and path.parts[0] != "__MACOSX"]
    if not found:
        raise error(f"{label} lacks {name}.")
    depth = min(len(path.parts) for path, _ in found)
    members = [m for path, m in found if len(path.parts) == depth]
    if len(members) > 1:
        raise error(f"{label} holds {name} more than once.")
    if members[0].flag_bits & 1:
        raise error(f"{label} is locked with a password.")
    with archive.open(members[0]) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise error(f"{label}: {name} is larger than {limit // 2**20} MB unpacked.")
    return content
