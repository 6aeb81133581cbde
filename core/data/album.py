"""An album: a folder of links to photos, in an order. Any photo viewer opens it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.common.errors import DataError
from core.common.files import whole
from core.data.find_images import is_there

MADE = ".album.json"  # in the album: what this program made there, by file name


@dataclass(frozen=True)
class Report:
    """How many links were made, stay, and were removed; and errors by file."""

    made: int
    kept: int
    removed: int
    failed: tuple[tuple[Path, DataError], ...]


def make_album(folder: Path, photos: Sequence[Path]) -> Report:
    """Make or update an album. Files that this program did not make, or that were changed since, stay. Raises DataError: when
    the folder's list of made files is damaged; OSError: when it cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    old, failed = _read(folder), list[tuple[Path, DataError]]()
    digits = max(3, len(str(len(photos))))
    wanted = {f"{rank:0{digits}} {photo.name}": os.path.abspath(photo) for rank, photo in enumerate(photos, 1)}  # noqa: PTH100
    removed = [name for name, made in old.items() if wanted.get(name) != made["photo"] and _is_ours(folder / name, made)]
    for name in removed:
        (folder / name).unlink()
    kept = {name: old[name] for name in wanted if name in old and _is_ours(folder / name, old[name])}
    new: dict[str, dict[str, Any]] = {
        name: {"photo": photo, "copy": None} for name, photo in wanted.items() if name not in kept
    }
    for name, made in list(new.items()):
        if not is_there(Path(made["photo"])):
            failed.append((Path(made["photo"]), DataError("CORE_SIDECAR_NO_PHOTO")))
        elif os.path.lexists(folder / name):
            failed.append((folder / name, DataError("CORE_ALBUM_TAKEN")))
        else:
            continue
        del new[name]
    _write(folder, kept | new)  # first, so that links of an interrupted run are known
    for name, made in new.items():
        made["copy"] = _link(folder / name, made["photo"])
        if made["copy"] is not None:
            _write(folder, kept | new)
    return Report(len(new), len(kept), len(removed), tuple(failed))


def _link(path: Path, photo: str) -> list[int] | None:
    """Make a link; where links cannot be made, a copy: its size and time of change."""
    try:
        path.symlink_to(photo)
        return None
    except (OSError, NotImplementedError):
        shutil.copy2(photo, path)
        return _stamp(path)


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _is_ours(path: Path, made: dict[str, Any]) -> bool:
    """Whether a file is as this program made it."""
    if path.is_symlink():
        return made["copy"] is None and str(path.readlink()) == made["photo"]
    return path.is_file() and _stamp(path) == made["copy"]


def _read(folder: Path) -> dict[str, dict[str, Any]]:
    if not (folder / MADE).exists():
        return {}
    try:
        made = json.loads((folder / MADE).read_text(encoding="utf-8"))
        return {Path(str(name)).name: {"photo": str(entry["photo"]), "copy": entry["copy"]} for name, entry in made.items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise DataError("CORE_ALBUM_DAMAGED", file=folder / MADE) from None


def _write(folder: Path, made: dict[str, Any]) -> None:
    with whole(folder / MADE) as partial:
        partial.write_text(json.dumps(made, indent=1), encoding="utf-8")
