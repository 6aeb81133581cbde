"""An album: a folder of links to photos, in an order. Any photo viewer opens it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
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
    ours = {name for name, (_, *stamp) in old.items() if stamp == _stamp(folder / name)}
    kept = {name: old[name] for name in ours if wanted.get(name) == old[name][0]}
    for name in ours - kept.keys():
        (folder / name).unlink()
    made = dict(kept)
    try:
        for name, photo in wanted.items():
            if name in kept:
                continue
            if not is_there(Path(photo)):
                failed.append((Path(photo), DataError("CORE_SIDECAR_NO_PHOTO")))
            elif os.path.lexists(folder / name):
                failed.append((folder / name, DataError("CORE_ALBUM_TAKEN")))
            else:
                _link(folder / name, photo)
                made[name] = [photo, *_stamp(folder / name)]
    finally:  # so that links of an interrupted run are known
        with whole(folder / MADE) as partial:
            partial.write_text(json.dumps(made, indent=1), encoding="utf-8")
    return Report(len(made) - len(kept), len(kept), len(ours) - len(kept), tuple(failed))


def _link(path: Path, photo: str) -> None:
    try:
        path.symlink_to(photo)
    except (OSError, NotImplementedError):
        shutil.copy2(photo, path)


def _stamp(path: Path) -> list[int]:
    """Size and time of change of a link or a copy; [] if it is gone."""
    with suppress(OSError):
        return [path.lstat().st_size, path.lstat().st_mtime_ns]
    return []


def _read(folder: Path) -> dict[str, list[Any]]:
    """The path of the photo, and the stamp, of each file that was made."""
    if not (folder / MADE).exists():
        return {}
    try:
        made = json.loads((folder / MADE).read_text(encoding="utf-8"))
        return {Path(name).name: [str(photo), size, time] for name, (photo, size, time) in made.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise DataError("CORE_ALBUM_DAMAGED", file=folder / MADE) from None
