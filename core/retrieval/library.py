"""A library of photos on disk: everything that search needs, computed once for each photo.

    DIR/library.json      version of the layout, backbone, folders
    DIR/photos.lance      one row per photo: id of its content, date, thumbnail, vector (see ``columns``)
    DIR/files.lance       one row per file: its path and photo id, or why it cannot be read
    DIR/index/            the vectors again, to be memory-mapped: see ``library_photos.vectors``
    DIR/lock              held while one process writes

Lance (https://lancedb.github.io/lance) commits each change as a new version: after a killed process, the last one is intact.
Photos are written before their files, so the next ``index`` continues interrupted work.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from filelock import FileLock, Timeout
from pydantic import AfterValidator, Field, Strict, TypeAdapter, ValidationError

from core.backbones.base import Backbone
from core.backbones.spec import needed_options, portable, with_full_paths
from core.common.errors import LibraryError, brief
from core.common.files import whole
from core.common.schema import BackboneChoice
from core.data.find_images import is_there
from core.retrieval.columns import width

if TYPE_CHECKING:
    import pyarrow as pa
    from lance import LanceDataset

LAYOUT = 3  # layout 2 had one embedding for each photo
ABOUT, PHOTOS, FILES, LOCK = "library.json", "photos.lance", "files.lance", "lock"
WIDEST = 2**16  # maximum length of a vector
FULL = (28, 122)  # errno: no space left on device, disk quota exceeded


def _absolute(path: str) -> str:
    if not Path(path).is_absolute():
        raise ValueError("not an absolute path")
    return path


@dataclass(frozen=True)
class About:
    layout: Annotated[int, Strict()]
    backbone: BackboneChoice  # arguments of ``load_backbone``
    fingerprint: str  # of the backbone
    dim: Annotated[int, Strict(), Field(gt=0, le=WIDEST)]  # of the vectors, ``columns.width``
    folders: tuple[Annotated[str, AfterValidator(_absolute)], ...]  # the indexed folders


_ABOUT = TypeAdapter(About)


@dataclass(frozen=True)
class PhotoLibrary:
    """An open library: its folder and the content of library.json."""

    folder: Path
    about: About

    @staticmethod
    def open(folder: Path, backbone: Backbone | None = None) -> PhotoLibrary:
        """Open an existing library, to search with this backbone. Raises LibraryError: when there is none, it is damaged, of
        another version, or made with another backbone."""
        path = folder / ABOUT
        if not path.is_file():
            raise LibraryError(f"{folder} holds no library: `python -m core index FOLDER --library {folder}` makes one.")
        try:
            library = PhotoLibrary(folder, _ABOUT.validate_json(path.read_bytes()))
        except ValidationError:
            raise LibraryError(f"{path} is damaged: restore it, or index the photos into another folder.") from None
        except OSError as error:
            raise LibraryError(f"{path} cannot be read ({error.strerror}).") from None
        if (layout := library.about.layout) > LAYOUT:
            raise LibraryError(f"A newer version made the library {folder} (layout {layout}): update this program.")
        if layout < LAYOUT:
            again = library._again(library.about.backbone)
            raise LibraryError(f"The library {folder} is of an older version of this program: {again}")
        if backbone is not None:
            library.check(backbone)
        return library

    @staticmethod
    def create(folder: Path, backbone: Backbone) -> PhotoLibrary:
        """Open the library in a folder, or make one. Raises LibraryError: as ``open``, or when the folder holds other files or
        cannot be written."""
        if (folder / ABOUT).exists():
            return PhotoLibrary.open(folder, backbone)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(entry.name != LOCK and not entry.name.startswith(ABOUT) for entry in folder.iterdir()):
                raise LibraryError(f"{folder} holds other files and no library: name a new folder, or an empty one.")
            about = About(LAYOUT, with_full_paths(backbone.choice), backbone.fingerprint, width(backbone), ())
            library = PhotoLibrary(folder, about)
            library.write_about(about)
        except OSError as error:
            raise LibraryError(f"The library {folder} cannot be made ({error.strerror or type(error).__name__}).") from None
        return library

    def check(self, backbone: Backbone) -> None:
        """Raise LibraryError unless the library was made with this backbone: equal fingerprints, and rows of the same width."""
        if (backbone.fingerprint, width(backbone)) == (self.about.fingerprint, self.about.dim):
            return
        if backbone.fingerprint == self.about.fingerprint and backbone.layout.moves_photos:  # no library would help
            raise LibraryError(
                f"The library {self.folder} is for experts that adapt texts; these adapt photos. On the page, choose other"
                " photos under “Search in”; on the command line, drop --adapt photos, or `search --gallery FOLDER`."
            )
        again = self._again(backbone.choice)
        spec = brief(" ".join(str(value) for value in portable(self.about.backbone).values() if value is not None))
        other = f"{spec}, fingerprint {brief(self.about.fingerprint)}; this one is {backbone.name}, {backbone.fingerprint}"
        raise LibraryError(f"The library {self.folder} was made with another backbone ({other}). Choose that, or: {again}")

    def _again(self, backbone: Mapping[str, Any]) -> str:
        """Advice on how to rebuild the library with a backbone, for error messages."""
        folders = [shown_path(path) for path in self.about.folders] or ["FOLDER"]
        return f"`{index_command(f'{self.folder}-new', folders, backbone)}` makes it again, in a new folder beside it."

    def counts(self) -> dict[str, int]:
        """The numbers of photos, readable files, unreadable files and dated photos, and the bytes on disk."""
        with self.readable():
            photos, files = self.photos(), self.files()
            return {
                "photos": photos.count_rows(),
                "files": files.count_rows("id IS NOT NULL"),
                "failed": files.count_rows("id IS NULL"),
                "dated": photos.count_rows("taken IS NOT NULL"),
                "bytes": sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file()),
            }

    def write_about(self, about: About) -> None:
        with whole(self.folder / ABOUT) as partial:
            partial.write_text(json.dumps(asdict(about), indent=2) + "\n", encoding="utf-8")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A block in which no other process writes. Raises LibraryError: when another process is writing, or the folder cannot
        be written."""
        try:
            lock = FileLock(self.folder / LOCK, thread_local=False).acquire(timeout=0)
        except Timeout:
            raise LibraryError(f"Another process is writing the library {self.folder}: wait until it is done.") from None
        except OSError as error:
            raise LibraryError(f"The library {self.folder} cannot be written ({error.strerror or error}).") from None
        with lock:
            yield

    @contextmanager
    def readable(self) -> Iterator[None]:
        """A block that reads or writes tables. Errors become a LibraryError: disk full, read-only folder or damaged file."""
        try:
            yield
        except LibraryError:
            raise
        except BaseException as error:  # Lance also raises Rust panics, with a message a page long
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            if getattr(error, "errno", None) in FULL or "No space left" in str(error) or "os error 28" in str(error):
                raise LibraryError(
                    f"The disk of {self.folder} is full: delete files and try again. What was indexed before stays."
                ) from error
            if isinstance(error, PermissionError) or "Permission denied" in str(error) or "Read-only" in str(error):
                raise LibraryError(f"The library {self.folder} cannot be written: its folder is read-only.") from error
            reason = brief(str(error))
            raise LibraryError(f"The library {self.folder} is damaged ({reason}): restore it, or make another.") from error

    def photos(self) -> LanceDataset:
        """The table of photos, created on first use."""
        return self._table(PHOTOS, photo_schema(self.about))

    def files(self) -> LanceDataset:
        """The table of files, created on first use."""
        return self._table(FILES, file_schema())

    def _table(self, name: str, schema: pa.Schema) -> LanceDataset:
        import lance

        path = self.folder / name
        if not (path / "_versions").is_dir():
            lance.write_dataset(schema.empty_table(), str(path))
        table = lance.dataset(str(path))
        found = {field.name: field for field in table.schema}  # earlier versions also kept captions
        if any(found.get(field.name) != field for field in schema):
            raise LibraryError(f"{path} has other columns than {ABOUT} says: restore it, or index into another folder.")
        return table


def photo_schema(about: About) -> pa.Schema:
    """One row per photo: id (16 bytes), time taken, thumbnail (JPEG), vector [w]."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.binary(16), nullable=False),
            pa.field("taken", pa.timestamp("s")),
            pa.field("thumbnail", pa.binary(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), about.dim), nullable=False),
        ]
    )


def file_schema() -> pa.Schema:
    """One row per file: path (raw: its bytes if not UTF-8), size, time of change, photo id or error message."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            pa.field("raw", pa.binary()),
            pa.field("size", pa.int64(), nullable=False),
            pa.field("mtime_ns", pa.int64(), nullable=False),
            pa.field("id", pa.binary(16)),
            pa.field("reason", pa.string()),
        ]
    )


def index_command(library: object, folders: Sequence[str], backbone: Mapping[str, Any]) -> str:
    """The command that indexes folders into a library of a backbone (its ``Backbone.choice``)."""
    options = [*folders, "--library", str(library), *needed_options(backbone)]
    return "".join(c for c in shlex.join(["python", "-m", "core", "index", *options]) if c.isprintable())


def absolute(path: Path) -> str:
    """The absolute path, with links kept: people know a data disk by its link."""
    return os.path.normpath(path.absolute())


def shown_path(path: str) -> str:
    """The path as valid UTF-8 for tables and terminals: other bytes become backslash escapes."""
    return path.encode("utf-8", "backslashreplace").decode()


def is_library(folder: Path) -> bool:
    return is_there(folder / ABOUT)
