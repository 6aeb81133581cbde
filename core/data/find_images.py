"""Find the image files that a captions file names."""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath

from core.common.errors import DataError
from core.common.lazy import lazy
from core.data.image_io import FORMATS
from core.data.raw_preview import SUFFIXES as RAW_SUFFIXES
from core.data.sample import Sample

SUFFIXES = frozenset(suffix for suffixes in (*FORMATS.values(), RAW_SUFFIXES) for suffix in suffixes)

CLUTTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "icon\r", "zbthumbnail.info", "autprint.mrk"}
CLUTTER_FOLDERS = {"__MACOSX", "@eaDir", ".thumbnails", "$RECYCLE.BIN"}
# Edit settings of raw converters and phones, thumbnails, low-resolution videos and catalogues of cameras, partial downloads.
SIDECARS = (".xmp", ".aae", ".thm", ".ctg", ".lrv", ".pp3", ".dop", ".lrcat-data", ".photoslibrary", ".part", ".crdownload")


def is_clutter(name: str) -> bool:
    """Whether a file was put beside photos by an operating system, camera or program. Such files are skipped silently."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or CLUTTER_FOLDERS.intersection(parts):
        return True
    last = parts[-1].lower()
    return last.startswith((".", "~$")) or last in CLUTTER or last.endswith(SIDECARS)


def is_image(path: Path) -> bool:
    """Whether the file name is that of a photo. Its content is checked when it is decoded."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def is_raw(name: str) -> bool:
    """Whether the file name is that of a camera's raw file."""
    return name.lower().endswith(RAW_SUFFIXES)


def is_there(path: Path) -> bool:
    """Whether a path is an existing file. Also False for an invalid path, for which ``Path.is_file`` may raise an error."""
    return os.path.isfile(path)  # noqa: PTH113


class ImageFinder:
    """Finds the images of a folder and all folders below it by file name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @lazy
    def _by_name(self) -> dict[str, list[Path]]:
        paths: dict[str, list[Path]] = defaultdict(list)
        for root, names in walk(self.folder):
            for name in names:
                paths[name].append(root / name)
        return paths

    def find(self, name: str) -> Path:
        """The path of the image ``name`` from a captions file; the name may include folders. Raises DataError: when it may mean
        either of two files."""
        direct = self.folder / name
        if is_there(direct):
            return direct
        same = self._by_name.get(PurePosixPath(name).name, [])
        if len(same) > 1:
            first, second = (path.relative_to(self.folder) for path in same[:2])
            raise DataError(f"{self.folder} holds {first} and {second}, and captions name both: move one away.")
        return next(iter(same), direct)

    def lists(self, pattern: str, read: Callable[[Path], list[Sample]]) -> dict[Path, list[Sample]]:
        """The samples of each list in the folder or its ``annotations`` whose photos are there, or else of all."""
        files = sorted([*self.folder.glob(pattern), *self.folder.glob(f"annotations/{pattern}")])
        parsed = {file: samples for file in files if file.is_file() and (samples := read(file))}
        return {file: samples for file, samples in parsed.items() if any(is_there(s.path) for s in samples)} or parsed


def photos_in(folder: Path) -> Iterator[Path]:
    """Yield the photos in a folder and all folders below it, in the order of ``walk``."""
    for root, names in walk(folder):
        yield from (root / name for name in names if is_image(Path(name)))


def walk(
    folder: Path, skipped: Collection[str] = (), onerror: Callable[[OSError], object] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """Yield ``folder`` and each folder below it that is not hidden, with its sorted file names. Follows links, but not in
    circles: image folders are often links to a data disk. ``skipped``: real paths of folders to leave out. ``onerror``: called
    with the error of each folder that cannot be listed."""
    seen = set(skipped)
    for root, folders, names in os.walk(folder, onerror=onerror, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(root), sorted(names)
