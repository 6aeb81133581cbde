"""What a visitor drops in: photos, ZIP files of photos, captions files; sorted, unpacked within bounds."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from app.errors import DISK_TROUBLE
from core.photos import MAX_BYTES

CAPTION_SUFFIXES = {".csv", ".tsv", ".json", ".jsonl"}
MAX_CAPTIONS_BYTES = 8 * 1024 * 1024
MAX_UPLOAD = "200mb"  # what the server takes for one file
MAX_UNPACKED_BYTES = 512 * 1024 * 1024
MAX_MEMBERS = 2000


@dataclass
class Uploads:
    """Files sorted by what they are.

    Attributes:
        photos: files to be read as photos (whether they are, the gallery finds out).
        captions: (name, content) of captions files.
        failed: (name, reason) of what cannot be taken.
    """

    photos: list[Path] = field(default_factory=list)
    captions: list[tuple[str, bytes]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


def sort_uploads(paths: Sequence[str | Path], folder: Path) -> Uploads:
    """Sort uploaded files; ZIP files are unpacked below ``folder``, which the caller deletes."""
    uploads = Uploads()
    for path in map(Path, paths):
        suffix = path.suffix.lower()
        if suffix == ".zip":
            _unpack(path, folder, uploads)
        elif suffix in CAPTION_SUFFIXES:
            if path.stat().st_size > MAX_CAPTIONS_BYTES:
                uploads.failed.append((path.name, f"a captions file may have {MAX_CAPTIONS_BYTES // 2**20} MB"))
            else:
                uploads.captions.append((path.name, path.read_bytes()))
        else:
            uploads.photos.append(path)
    return uploads


def _unpack(path: Path, folder: Path, uploads: Uploads) -> None:
    """Unpack one ZIP: names are never used as paths, and sizes are counted while reading, not believed."""
    left = MAX_UNPACKED_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and not _is_clutter(m.filename)]
            if not members:
                uploads.failed.append((path.name, "the ZIP holds no files"))
            if len(members) > MAX_MEMBERS:
                uploads.failed.append((path.name, f"only the first {MAX_MEMBERS:,} of its {len(members):,} files were taken"))
            for number, member in enumerate(members[:MAX_MEMBERS]):
                name = PurePosixPath(member.filename.replace("\\", "/")).name[-120:]
                if member.flag_bits & 1:
                    uploads.failed.append((f"{path.name}/{name}", "it is locked with a password"))
                    continue
                is_captions = Path(name).suffix.lower() in CAPTION_SUFFIXES
                limit = min(left, MAX_CAPTIONS_BYTES if is_captions else MAX_BYTES)
                with archive.open(member) as stream:
                    content = stream.read(limit + 1)
                if len(content) > left:
                    uploads.failed.append(
                        (path.name, f"more than {MAX_UNPACKED_BYTES // 2**20} MB unpacked: the rest was left out")
                    )
                    return
                if len(content) > limit:
                    uploads.failed.append((f"{path.name}/{name}", f"larger than {limit // 2**20} MB"))
                    continue
                left -= len(content)
                if is_captions:
                    uploads.captions.append((name, content))
                else:
                    target = folder / f"{path.stem[:40]}-{number}"
                    target.mkdir(parents=True, exist_ok=True)
                    (target / name).write_bytes(content)
                    uploads.photos.append(target / name)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, RuntimeError, ValueError) as error:
        if getattr(error, "errno", None) in DISK_TROUBLE:
            raise  # not the ZIP's fault
        uploads.failed.append((path.name, "the ZIP is damaged or of a kind that cannot be read"))


def _is_clutter(name: str) -> bool:
    """Files that operating systems add to ZIP files on their own."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return not parts or "__MACOSX" in parts or parts[-1].startswith(".") or parts[-1] in {"Thumbs.db", "desktop.ini"}


def discard(folder: Path) -> None:
    """Delete what was unpacked."""
    shutil.rmtree(folder, ignore_errors=True)
