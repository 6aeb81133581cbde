"""The libraries given with ``--library``: all visitors search them, and read nothing else here.

``--index-from-page`` lets the user of this machine add photos.
"""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from app.languages import texts
from core.backbones.base import Backbone
from core.common.errors import LibraryError
from core.common.text import free_name
from core.retrieval.indexing import IndexReport, Progress, index_folders
from core.retrieval.library import PhotoLibrary, is_library
from core.retrieval.library_photos import LibraryPhotos


class PhotoLibraries:
    """All libraries, by name; writable ones need not exist yet. Raises LibraryError: when one is unusable."""

    def __init__(self, folders: Sequence[Path] = (), writable: bool = False) -> None:
        self.writable = writable
        self._folders: dict[str, Path] = {}
        self._open: dict[tuple[str, str], LibraryPhotos] = {}
        self._lock = threading.Lock()
        for folder in folders:
            if is_library(folder) or not writable:
                PhotoLibrary.open(folder)
            self._folders[free_name(folder.resolve().name, self._folders.__contains__)] = folder.resolve()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._folders)

    def photos(self, name: str, backbone: Backbone) -> LibraryPhotos:
        """The last version of a library; it stays open. Raises LibraryError: when it is unknown or unusable."""
        folder, key = self._folder(name), (name, backbone.prefix_key)
        with self._lock:
            if key not in self._open or not self._open[key].current:
                self._open[key] = LibraryPhotos(PhotoLibrary.open(folder, backbone), backbone)
            return self._open[key]

    def index(
        self, name: str, folder: str, backbone: Backbone, progress: Callable[[Progress], None], stop: Callable[[], bool]
    ) -> IndexReport:
        """Update a library from a folder; an empty one: from those it knows. Raises LibraryError: when it is read-only."""
        if not self.writable:
            raise LibraryError(texts.LIBRARY_READ_ONLY)
        library = PhotoLibrary.create(self._folder(name), backbone)
        folders = [Path(os.path.expanduser(folder.strip()))] if folder.strip() else []  # noqa: PTH111 (fails on "~nobody")
        return index_folders(library, folders, backbone, progress, stop=stop)

    def _folder(self, name: str) -> Path:
        if not isinstance(name, str) or name not in self._folders:
            raise LibraryError(texts.LIBRARY_UNKNOWN)
        return self._folders[name]
