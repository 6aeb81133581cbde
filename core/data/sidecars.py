"""XMP sidecars beside photos: what adding or removing a keyword would change, and the change. A photo is never written."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, IptcImagePlugin

from core.common.errors import DataError
from core.common.files import whole
from core.data.find_images import is_there
from core.data.image_io import FORMATS, photo_bytes
from core.data.xmp import HIERARCHY, TAGS, keywords, new_xmp, with_keyword, without_keyword

STYLES = ("photo.jpg.xmp", "photo.xmp")  # of most programs, of Lightroom
MAX_BYTES = 16 * 2**20
_IPTC_KEYWORDS = (2, 25)


@dataclass(frozen=True)
class Change:
    """A sidecar's file and its new content. None: nothing would be left in it, so the file goes."""

    file: Path
    content: bytes | None

    def write(self) -> None:
        """Write the file completely or not at all, with the permissions that it has. Raises OSError."""
        if self.content is None:
            self.file.unlink()
            return
        with whole(self.file) as partial:
            try:
                partial.write_bytes(self.content)
                if self.file.exists():
                    shutil.copymode(self.file, partial)
            except OSError:
                partial.unlink(missing_ok=True)
                raise


def sidecar_of(photo: Path, style: str) -> Path:
    """The sidecar of a photo in one of STYLES. Of a link: the file that it leads to."""
    file = photo.with_suffix(".xmp") if style == STYLES[1] else photo.with_name(f"{photo.name}.xmp")
    return file.resolve() if file.is_symlink() else file


def change(photo: Path, word: str, style: str = STYLES[0], remove: bool = False) -> Change | None:
    """What a keyword, added or removed, changes in a photo's sidecar; None: nothing. Raises DataError: when the photo is gone,
    or the sidecar is damaged, read-only or no XMP; OSError: when it cannot be read."""
    file = sidecar_of(photo, style)
    if not file.exists():
        if remove:
            return None
        if not is_there(photo):
            raise DataError("CORE_SIDECAR_NO_PHOTO")
        new = _new(photo)
        return None if word in keywords(new) else Change(file, with_keyword(new, word))
    if not is_there(file) or file.stat().st_size > MAX_BYTES:
        raise DataError("CORE_SIDECAR_FOREIGN")
    content = file.read_bytes()
    changed = (without_keyword if remove else with_keyword)(content, word)
    if changed == content:
        return None
    if not file.stat().st_mode & 0o222:
        raise DataError("CORE_SIDECAR_READ_ONLY")
    return Change(file, None if remove and changed == _new(photo) else changed)


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
    changed, failed, same = dict[Path, None](), list[tuple[Path, DataError]](), 0
    for done, photo in enumerate(photos, 1):
        try:
            made = change(photo, word, style, remove)
            if made is None or made.file in changed:  # two photos may share a sidecar
                same += 1
            else:
                if not dry_run:
                    made.write()
                changed[made.file] = None
        except DataError as error:
            failed.append((sidecar_of(photo, style), error))
        except OSError as error:
            failed.append((sidecar_of(photo, style), DataError("CORE_SIDECAR_NOT_WRITTEN", error=error.strerror)))
        progress(done, len(photos))
    return Report(tuple(changed), same, tuple(failed))


def _new(photo: Path) -> bytes:
    """A new sidecar: with the keywords inside the photo (XMP, IPTC), since programs read a sidecar's in their place."""
    words, tags = list[str](), list[str]()
    with suppress(Exception):  # the photo was read when it was indexed; damaged metadata do not matter
        with Image.open(io.BytesIO(photo_bytes(photo)), formats=[key for key in FORMATS if key in Image.OPEN]) as image:
            iptc = (IptcImagePlugin.getiptcinfo(image) or {}).get(_IPTC_KEYWORDS, [])
            xmp = image.info.get("xmp", b"")
        words += [word.decode() for word in (iptc if isinstance(iptc, list) else [iptc])]
        xmp = xmp.encode() if isinstance(xmp, str) else xmp
        words += keywords(xmp)
        tags += keywords(xmp, TAGS) or [tag.replace("|", "/") for tag in keywords(xmp, HIERARCHY)]
    words, tags = ([word for word in dict.fromkeys(each) if word and word.isprintable()] for each in (words, tags))
    return new_xmp(words, tags or words)
