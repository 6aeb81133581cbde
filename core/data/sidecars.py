"""XMP sidecars beside photos: add a keyword or remove it. A photo is never written."""

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, IptcImagePlugin

from core.common.errors import DataError
from core.common.files import clear_partials, whole
from core.data.find_images import is_there
from core.data.image_io import FORMATS
from core.data.xmp import EMPTY, HIERARCHY, NO_XMP, SUBJECT, TAGS, Words, keywords, with_keyword, without_keyword

STYLES = ("photo.jpg.xmp", "photo.xmp")  # of most programs, of Lightroom
MAX_BYTES = 16 * 2**20
PHOTO_GONE = "its photo is gone: connect its drive, or update the library (`python -m core index`)."
_IPTC_KEYWORDS = (2, 25)


def sidecar_of(photo: Path, style: str = STYLES[0]) -> Path:
    """The sidecar of a photo in one of STYLES. Of a link to a file beside it: that file."""
    file = photo.with_suffix(".xmp") if style == STYLES[1] else photo.with_name(f"{photo.name}.xmp")
    if file.is_symlink() and (there := Path(os.path.realpath(file))).parent == file.parent.resolve():
        return there
    return file


def change(photo: Path, word: str, style: str = STYLES[0], remove: bool = False, dry_run: bool = False) -> bool:
    """Add or remove a keyword; returns whether this changes the sidecar. Raises DataError: when the photo is gone, or the
    sidecar is damaged, read-only or no XMP; OSError: when it cannot be read or written."""
    file = sidecar_of(photo, style)
    if file.is_symlink():
        raise DataError("it is a link to another folder. It was left alone.")
    if there := file.exists():
        if not is_there(file) or file.stat().st_size > MAX_BYTES:
            raise DataError(NO_XMP)
    elif remove:
        return False
    elif not is_there(photo):
        raise DataError(PHOTO_GONE)
    old, inside = file.read_bytes() if there else EMPTY, keywords_inside(photo) if is_there(photo) else {}
    new = (without_keyword if remove else with_keyword)(old, word, inside)
    if new == old or (not there and word in inside[SUBJECT]):
        return False
    if there and not file.stat().st_mode & 0o222:
        raise DataError("it is read-only. It was left alone.")
    if dry_run:
        return True
    if new == EMPTY:  # nothing would be left in it
        file.unlink()
        return True
    with whole(file) as partial:
        partial.write_bytes(new)
        if there:
            shutil.copymode(file, partial)
    return True


@dataclass(frozen=True)
class Report:
    """What a keyword changed: sidecars, the number of photos whose sidecar stays the same, and errors by sidecar."""

    changed: tuple[Path, ...] = ()
    same: int = 0
    failed: tuple[tuple[Path, DataError], ...] = ()


def change_all(
    photos: Sequence[Path],
    word: str,
    style: str = STYLES[0],
    remove: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Make ``change`` for each photo. ``dry_run``: write nothing."""
    changed, failed = dict[Path, None](), list[tuple[Path, DataError]]()
    for folder in set() if dry_run else {sidecar_of(photo, style).parent for photo in photos}:
        clear_partials(folder, "*.xmp")
    for done, photo in enumerate(photos, 1):
        file = sidecar_of(photo, style)
        try:
            if file not in changed and change(photo, word, style, remove, dry_run):  # two photos may share a sidecar
                changed[file] = None
        except DataError as error:
            failed.append((file, error))
        except OSError as error:
            failed.append((file, DataError(f"it cannot be written ({error.strerror}).")))
        progress(done, len(photos))
    return Report(tuple(changed), len(photos) - len(changed) - len(failed), tuple(failed))


def keywords_beside(photo: Path) -> tuple[list[Words], list[tuple[Path, object]]]:
    """The keywords in each sidecar of a photo, and (sidecar, reason) for those that cannot be read."""
    found, failed = list[Words](), list[tuple[Path, object]]()
    for file in dict.fromkeys(sidecar_of(photo, style) for style in STYLES):
        try:
            if file.is_file():
                if file.stat().st_size > MAX_BYTES:
                    raise DataError(NO_XMP)
                found.append(keywords(file.read_bytes()))
        except DataError as error:
            failed.append((file, error))
        except OSError as error:
            failed.append((file, error.strerror))
    return found, failed


def keywords_inside(photo: Path | BinaryIO) -> Words:
    """The keywords inside a photo (XMP, IPTC), as lists of a new sidecar."""
    words, xmp = list[str](), dict[str, list[str]]()
    with suppress(Exception):  # the photo was read when it was indexed; damaged metadata do not matter
        with Image.open(photo, formats=[key for key in FORMATS if key in Image.OPEN]) as image:
            iptc = (IptcImagePlugin.getiptcinfo(image) or {}).get(_IPTC_KEYWORDS, [])
            packet = image.info.get("xmp", b"")
        words = [word.decode() for word in (iptc if isinstance(iptc, list) else [iptc])]
        xmp = keywords(packet.encode() if isinstance(packet, str) else packet)
    words = _printable([*words, *xmp.get(SUBJECT, ())])
    levels = [tag.replace("/", "|") for tag in xmp.get(TAGS, ())] or xmp.get(HIERARCHY, ())
    return {SUBJECT: words, HIERARCHY: _printable(levels) or words}


def _printable(words: Sequence[str]) -> list[str]:
    return [word for word in dict.fromkeys(words) if word and word.isprintable()]
