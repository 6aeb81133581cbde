"""The files of one visitor, or of the samples: thumbnails, originals and downloads in one folder."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from app.server.scratch import BLOCKS, upload_folder
from core.common.files import whole
from core.data.decode import Source
from core.retrieval.gallery import Photo
from core.retrieval.library_photos import LibraryPhotos

FOLDER_PREFIX = "visitor-"
KEPT_DOWNLOADS = 3  # a visitor may start a download while another one runs
# An API client with several calls fetches its files later: younger downloads are kept, up to so many bytes.
YOUNG_SECONDS, YOUNG_BYTES = 120, 128 * 2**20


class Files:
    """A folder, made on first use. Nobody can guess its name. Gradio serves files from there, so it makes no copies.

    ``most_bytes``: most bytes of originals. Beyond them, a photo has only its thumbnail.
    """

    def __init__(self, most_bytes: float = float("inf")) -> None:
        self.most_bytes = most_bytes
        self.originals: dict[str, Path] = {}  # by the photo's id
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._downloads: deque[tuple[float, Path]] = deque()  # when they began, and their folders
        self._kept = 0  # bytes of originals and thumbnails
        self._lock = threading.RLock()

    @property
    def folder(self) -> Path:
        with self._lock:
            if self._folder is None:
                (parent := upload_folder()).mkdir(parents=True, exist_ok=True)
                prefix = f"{FOLDER_PREFIX}{secrets.token_hex(8)}-"
                self._folder = tempfile.TemporaryDirectory(None, prefix, parent, ignore_cleanup_errors=True)  # a read-only disk
            return Path(self._folder.name)

    @property
    def bytes(self) -> int:
        """Bytes that the files take on the disk: a running total, since everybody's uploads ask for it."""
        with self._lock:
            return self._kept + self._downloaded()

    def _downloaded(self) -> int:
        return sum(sum(bytes_of(folder).values()) for _, folder in self._downloads)

    def _count(self, size: int) -> None:
        with self._lock:
            self._kept += size

    def new(self, name: str) -> Path:
        """A path in a new folder, for a download. Older downloads are deleted, except the last few and young ones."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        with self._lock:
            self._downloads.append((time.monotonic(), folder))
            while len(self._downloads) > KEPT_DOWNLOADS:
                begin, oldest = self._downloads[0]
                if self._downloaded() <= YOUNG_BYTES and time.monotonic() - begin < YOUNG_SECONDS:
                    break
                shutil.rmtree(oldest, ignore_errors=True)
                self._downloads.popleft()
        return folder / name

    def write(self, name: str, content: bytes) -> Path:
        (path := self.new(name)).write_bytes(content)
        return path

    def keep(self, sources: Sequence[Source], ids: Mapping[int, str], photos: Collection[str]) -> None:
        """Keep the original files of ``photos``. ``ids``: the photo's id by its row in ``sources``."""
        folder, room = self.folder / "photos", self.most_bytes - self.bytes
        folder.mkdir(exist_ok=True)
        for row, key in ids.items():
            file = source if isinstance(source := sources[row], Path) else source[1]
            if isinstance(file, Path) and key in photos and key not in self.originals:
                with suppress(OSError):
                    if (room := room - (size := file.stat().st_size)) < 0:
                        return
                    self.originals[key] = _linked(file, folder / f"{key}{file.suffix[:6]}")
                    self._count(size + BLOCKS)

    def borrow(self, path: Path) -> Path:
        """A file of a library as a download, which the browser may read."""
        return _linked(path, self.new(path.name))

    def delete_unused(self, photos: Collection[str]) -> None:
        for unused in self.originals.keys() - photos:
            if (path := self.originals.pop(unused, None)) is not None and path.exists():
                self._count(-path.stat().st_size - BLOCKS)
                path.unlink(missing_ok=True)

    def thumbnail(self, photo: Photo) -> Path:
        """The file of a photo's thumbnail, written on first use."""
        return self._shown(photo.id, photo.thumbnail)

    def original(self, photo: Photo) -> Path:
        path = self.originals.get(photo.id)
        return path if path is not None and path.exists() else self.thumbnail(photo)

    def library_thumbnails(self, library: LibraryPhotos, rows: Mapping[str, int]) -> dict[str, Path]:
        """Files of thumbnails of a library's photos, by key, written on first use."""
        paths = {key: self.folder / f"thumbnail-{key}.jpg" for key in rows}
        missing = [key for key, path in paths.items() if not path.exists()]
        for key, content in zip(missing, library.thumbnails([rows[key] for key in missing]) if missing else (), strict=True):
            self._shown(key, content)
        return paths

    def _shown(self, key: str, thumbnail: bytes) -> Path:
        path = Path(f"thumbnail-{key}.jpg")
        with suppress(OSError):  # on a full disk, the answer has names instead of pictures
            if not (path := self.folder / path).exists():
                with whole(path) as partial:
                    partial.write_bytes(thumbnail)
                self._count(len(thumbnail) + BLOCKS)
        return path

    def close(self) -> None:
        with self._lock:
            folder, self._folder = self._folder, None
            self.originals.clear()
            self._downloads.clear()
            self._kept = 0
        if folder is not None:
            folder.cleanup()


def _linked(file: Path, target: Path) -> Path:
    try:
        os.link(file, target)  # a hard link takes no disk space
    except OSError:  # a link cannot cross file systems
        shutil.copyfile(file, target)
    return target


def bytes_of(root: str | Path, skip: str = "") -> dict[Path, int]:
    """The bytes on the disk of each file below a folder, without folders whose names begin with ``skip``. A file with several
    hard links counts once for each, in part."""
    sizes = dict[Path, int]()
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not skip or not name.startswith(skip)]
        for path in (Path(folder, name) for name in names):
            with suppress(OSError):  # it is gone by now
                sizes[path] = (path.lstat().st_size + BLOCKS) // max(1, path.lstat().st_nlink)
    return sizes
