"""An album: a folder of links to photos, in an order. Any photo viewer opens it."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.common.errors import DataError
from core.data.find_images import is_there
from core.data.sidecars import PHOTO_GONE
from core.data.text import read_json

COPIES = ".copies.json"  # in an album: the time of change (ns) of each copy
_OURS = re.compile(r"\d{3,} .+")


def make_album(folder: Path, photos: Sequence[Path]) -> list[tuple[Path, DataError]]:
    """Make an album of links to photos, or of copies where links are impossible, in place of those of an earlier run.
    Returns the errors by photo. Raises DataError: when the folder holds anything else; OSError: when it cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    listed, failed = folder / COPIES, list[tuple[Path, DataError]]()
    copies = read_json(listed) if listed.is_file() else {}
    old = [file for file in folder.iterdir() if file != listed]
    if other := next((file for file in old if not _is_ours(file, copies)), None):
        raise DataError(f"{folder} holds {other.name}, which is no link or copy of an earlier album: name a new folder.")
    for file in (*old, listed):
        file.unlink(missing_ok=True)
    copied, digits = dict[str, int](), max(3, len(str(len(photos))))
    for rank, photo in enumerate(photos, 1):
        place = folder / f"{rank:0{digits}} {photo.name}"
        if not is_there(photo):
            failed.append((photo, DataError(PHOTO_GONE)))
            continue
        try:
            place.symlink_to(photo.absolute())
        except (OSError, NotImplementedError):
            shutil.copy2(photo, place)
            copied[place.name] = place.stat().st_mtime_ns
    if copied:
        listed.write_text(json.dumps(copied))
    return failed


def _is_ours(file: Path, copies: Mapping[str, int]) -> bool:
    """Whether a file is a link of an earlier album, or an unchanged copy."""
    return copies.get(file.name) == file.lstat().st_mtime_ns or (file.is_symlink() and bool(_OURS.fullmatch(file.name)))
