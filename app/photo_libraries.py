"""The libraries that ``--library`` opened: searched by all visitors, and indexed where the app serves this machine alone.

Nothing else can be read here: a name that was not given is refused, and results are thumbnails out of a library.
"""

from __future__ import annotations

import ipaddress
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from app import texts
from core.backbones.base import Backbone
from core.common.errors import LibraryError
from core.retrieval.indexing import IndexReport, Progress, index_folders
from core.retrieval.library import PhotoLibrary, is_library
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.two_stage import TwoStageSearch


class PhotoLibraries:
    """All of them, by name.

    Args:
        folders: of libraries. at_home: whether they may be written from the page; then they need not be there yet.

    Raises:
        LibraryError: one of them cannot be used.
    """

    def __init__(self, folders: Sequence[Path] = (), at_home: bool = False) -> None:
        self.at_home = at_home
        self._folders: dict[str, Path] = {}
        self._open: dict[tuple[str, str], TwoStageSearch] = {}
        self._lock = threading.Lock()
        for folder in folders:
            if is_library(folder) or not at_home:
                PhotoLibrary.open(folder)
            name, number = folder.resolve().name, 1
            while name in self._folders:
                number += 1
                name = f"{folder.resolve().name} {number}"
            self._folders[name] = folder.resolve()

    @property
    def names(self) -> tuple[str, ...]:
        """In the order that they were given."""
        return tuple(self._folders)

    def search(self, name: str, backbone: Backbone) -> tuple[TwoStageSearch, LibraryPhotos]:
        """The last version of a library; it is kept, with the maps of the adapters that were asked for.

        Raises:
            LibraryError: not one of these, another backbone's, or nothing is in it yet.
        """
        folder, key = self._folder(name), (name, backbone.prefix_key)
        with self._lock:
            search = self._open.get(key)
            if search is None or not search.store.current:  # type: ignore[attr-defined]
                photos = LibraryPhotos(PhotoLibrary.open(folder, backbone), backbone)
                search = self._open[key] = TwoStageSearch(photos)
            return search, search.store  # type: ignore[return-value]

    def folders(self, name: str) -> tuple[str, ...]:
        """The folders whose photos a library holds."""
        folder = self._folder(name)
        return PhotoLibrary.open(folder).about.folders if is_library(folder) else ()

    def index(self, name: str, folder: str, backbone: Backbone, progress: Callable[[Progress], None]) -> IndexReport:
        """Bring a library up to date with a folder; an empty name: with those it knows.

        Raises:
            LibraryError: the app does not serve this machine alone; or as ``index_folders``.
        """
        if not self.at_home:
            raise LibraryError(texts.LIBRARY_READ_ONLY)
        library = PhotoLibrary.create(self._folder(name), backbone)
        return index_folders(library, [Path(folder.strip()).expanduser()] if folder.strip() else [], backbone, progress)

    def _folder(self, name: str) -> Path:
        if not isinstance(name, str) or name not in self._folders:
            raise LibraryError(texts.LIBRARY_UNKNOWN)
        return self._folders[name]


def is_at_home(host: str | None) -> bool:
    """Whether the app serves this machine alone.

    Args:
        host: of ``--host``.
    """
    address = host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    if os.environ.get("SPACE_ID"):
        return False
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
