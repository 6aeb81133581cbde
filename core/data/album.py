"""An album: a folder of links to photos, in an order. Any photo viewer opens it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from core.common.errors import DataError
from core.data.find_images import is_there

_OURS = re.compile(r"\d{3,} .+")


def make_album(folder: Path, photos: Sequence[Path]) -> list[tuple[Path, DataError]]:
    """Make an album of links to photos, or of copies where links are impossible, in place of links from an earlier run. Returns
    the errors by photo. Raises DataError: when the folder holds anything else; OSError: when it cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    old, failed = list(folder.iterdir()), list[tuple[Path, DataError]]()
    if other := next((file for file in old if not (file.is_symlink() and _OURS.fullmatch(file.name))), None):
        raise DataError("CORE_ALBUM_OTHER", folder=folder, name=other.name)
    for link in old:
        link.unlink()
    digits = max(3, len(str(len(photos))))
    for rank, photo in enumerate(photos, 1):
        place = folder / f"{rank:0{digits}} {photo.name}"
        if not is_there(photo):
            failed.append((photo, DataError("CORE_SIDECAR_NO_PHOTO")))
            continue
        try:
            place.symlink_to(photo.absolute())
        except (OSError, NotImplementedError):
            shutil.copy2(photo, place)
    return failed
