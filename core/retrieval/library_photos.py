"""A library's photos for search: one version, which stays fixed while other processes write. Its vectors are copied to a file
that is memory-mapped, so that they load at once."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from core.backbones.base import Backbone
from core.common.errors import AdapterError, GalleryError, LibraryError
from core.common.files import whole
from core.common.lazy import lazy
from core.retrieval.adapter import Adapter
from core.retrieval.columns import width
from core.retrieval.index import Index
from core.retrieval.library import PhotoLibrary, absolute, index_command, shown_path
from core.retrieval.photo_set import PhotoSet

if TYPE_CHECKING:
    from lance import LanceDataset

FOLDER = "index"  # of the copied vectors
READ_ROWS = 4_096
MOST_FOLDERS = 1_000  # folders to choose from
MOST_LISTED = 10  # folders in an error message


class LibraryPhotos(PhotoSet):
    """One version of a library. Raises LibraryError: when the library is empty, damaged, or made with another backbone."""

    def __init__(self, library: PhotoLibrary, backbone: Backbone) -> None:
        library.check(backbone)
        self.library, self.backbone = library, backbone
        with library.readable():
            self._photos, self._files = library.photos(), library.files()
            self.ids: list[bytes] = self._photos.to_table(columns=["id"])["id"].to_pylist()
            self.index = Index(vectors(library, self._photos))
        if not self.ids:
            command = index_command(library.folder, ["FOLDER"], library.about.backbone)
            raise LibraryError(f"The library {library.folder} holds no photos that can be searched: run `{command}`.")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def current(self) -> bool:
        with self.library.readable():
            return self._photos.latest_version == self._photos.version

    def index_for(self, adapter: Adapter) -> Index:
        if adapter.moves_photos and self.backbone.shared is None:
            shown = f"This adapter changes photos, and the library {self.library.folder} keeps their embeddings without it"
            raise AdapterError(f"{shown}: use an adapter of texts, or search the folder of photos (`search --gallery FOLDER`).")
        return self.index

    def thumbnails(self, rows: Sequence[int]) -> list[bytes]:
        with self.library.readable():
            return self._photos.take(list(rows), columns=["thumbnail"])["thumbnail"].to_pylist()

    def key(self, row: int) -> str:
        return self.ids[row].hex()

    def row(self, key: str) -> int | None:
        with suppress(ValueError):
            return self.ids.index(bytes.fromhex(key))
        return None

    def find(self, photo: str) -> int:
        """The row of a photo, from the path of one of its files. Raises GalleryError: when it is not in the library."""
        literal = shown_path(absolute(Path(photo))).replace("'", "''")
        rows = [row for id, _ in self._listed(f"path = '{literal}'") if (row := self.row(id.hex())) is not None]
        if not rows:
            raise GalleryError(f"{photo} is not in the library {self.library.folder}: name a photo as `search` shows it.")
        return rows[0]

    def prefixes(self, rows: Sequence[int]) -> Tensor:
        """From the index; no files needed. Raises LibraryError: when an index row holds less than this backbone's prefix."""
        shape = self.backbone.prefix_shape
        if math.prod(shape) != width(self.backbone):
            raise LibraryError("This library keeps embeddings, and this backbone needs the photos: name their files instead.")
        return F.normalize(self.index.take(np.array(rows, dtype=int)).reshape(-1, *shape), dim=-1).half()

    def paths(self, rows: Sequence[int], folder: Path | None = None) -> list[Path]:
        """A file of each photo: the first by name, preferably in ``folder`` or below it. The photo's id if it has no file."""
        ids = [self.ids[row] for row in rows]
        if not ids:
            return []
        listed = ", ".join(f"X'{id.hex()}'" for id in set(ids))
        inside = "" if folder is None else self._inside(folder)
        files = sorted(self._listed(f"id IN ({listed})"), key=lambda file: (not file[1].startswith(inside), file[1]))
        first = dict(reversed(files))  # the file that comes first replaces the others of its photo
        return [Path(first.get(id, id.hex())) for id in ids]

    def named(self, rows: Sequence[int], folder: Path | None = None) -> list[tuple[str, Path | None]]:
        return [(shown_path(path.name), path) for path in self.paths(rows, folder)]

    def place(self, path: Path) -> str:
        """A file's path as text, beginning with the indexed folder's name."""
        return shown_path(path.name if (root := self._root(path)) is None else str(path.relative_to(root.parent)))

    def inner_folder(self, path: Path) -> Path:
        """A file's folder inside the indexed folder."""
        return path.relative_to(self._root(path) or path.parent).parent

    def _root(self, path: Path) -> Path | None:
        return next((root for root in map(Path, self.library.about.folders) if path.is_relative_to(root)), None)

    def files(self, rows: Sequence[int], folder: Path | None = None) -> list[Path]:
        """All files of photos, sorted; ``folder``: only those in it or below it."""
        wanted = set(rows)
        found = {file for row, file in self.all_files() if row in wanted}
        return sorted(path for path in found if folder is None or path.is_relative_to(absolute(folder)))

    def all_files(self) -> list[tuple[int, Path]]:
        """(row, file) of every file of every photo."""
        rows = {id: row for row, id in enumerate(self.ids)}
        return [(rows[id], Path(path)) for id, path in self._listed() if id in rows]

    def _listed(self, where: str = "true") -> list[tuple[bytes, str]]:
        """(photo id, path) of the readable files that pass an SQL filter."""
        with self.library.readable():
            table = self._files.to_table(columns=["id", "path", "raw"], filter=f"id IS NOT NULL AND {where}")
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        return [(id, path if raw is None else os.fsdecode(raw)) for id, path, raw in rows]

    @lazy
    def folders(self) -> Mapping[str, Path]:
        """Folders with photos, by a name that begins with the indexed folder's name: the first MOST_FOLDERS by name."""
        with self.library.readable():
            batches = self._files.scanner(["path"], filter="id IS NOT NULL").to_batches()
            parents = {os.path.dirname(path) for batch in batches for path in batch["path"].to_pylist()}  # noqa: PTH120
        above = {folder for path in map(Path, parents) for folder in (path, *path.parents)}
        named: dict[str, Path] = {}
        for root in map(Path, self.library.about.folders):
            for folder in sorted(folder for folder in above if folder.is_relative_to(root)):
                named.setdefault(folder.relative_to(root.parent).as_posix(), folder)
        return dict(sorted(named.items())[:MOST_FOLDERS])

    @lazy
    def days(self) -> np.ndarray:
        with self.library.readable():
            return self._photos.to_table(columns=["taken"])["taken"].to_numpy().astype("datetime64[D]")

    def check_folder(self, folder: Path) -> None:
        """Raise GalleryError if no photo is in the folder or below it."""
        if self.inside(folder).any():
            return
        known = ", ".join(map(str, list(self.folders.values())[:MOST_LISTED]))
        raise GalleryError(f"The library has no photo in {folder}: name one of its folders, such as {known}.")

    def inside(self, folder: Path) -> np.ndarray:
        """``folder``: an absolute path, or a name in ``folders``."""
        if not (inside := self._inside(folder)):  # a folder of the gallery
            return np.zeros(len(self), bool)
        literal = shown_path(inside).replace("'", "''")
        there = {id for id, _ in self._listed(f"starts_with(path, '{literal}')")}
        return np.array([id in there for id in self.ids], bool)

    def _inside(self, folder: Path) -> str:
        """The path prefix of files in a folder: an absolute path, or a name in ``folders``. "" for an unknown name."""
        path = folder if folder.is_absolute() else self.folders.get(folder.as_posix())
        return "" if path is None else absolute(path).rstrip(os.sep) + os.sep


def vectors(library: PhotoLibrary, photos: LanceDataset) -> np.ndarray:
    """The vectors [n, w] float32 of a version of the table of photos, in its order.

    They are copied to a file once for each version. The copies of earlier versions are removed; a process that has one mapped
    keeps it. In a folder that cannot be written, the vectors are read into memory.
    """
    shape = (photos.count_rows(), library.about.dim)
    file = library.folder / FOLDER / f"rows-{photos.version}.f32"
    if not file.is_file() or file.stat().st_size != 4 * shape[0] * shape[1]:
        try:
            with whole(file) as partial, partial.open("wb") as out:
                for part in parts(photos):
                    out.write(part.tobytes())
            for other in file.parent.iterdir():
                if other != file:
                    other.unlink(missing_ok=True)
        except OSError:
            return np.concatenate([np.empty((0, shape[1]), np.float32), *parts(photos)])
    return np.memmap(file, np.float32, "r", shape=shape) if shape[0] else np.empty(shape, np.float32)


def parts(photos: LanceDataset) -> Iterator[np.ndarray]:
    for batch in photos.scanner(["vector"], batch_size=READ_ROWS, scan_in_order=True).to_batches():
        yield batch["vector"].flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)
