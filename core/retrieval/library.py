"""A library of photos on disk: what was computed once for each of them, for searches to come.

    DIR/library.json      version of the layout, backbone, folders
    DIR/photos.lance      a row a photo: id of its content, date, thumbnail, vector (see ``columns``)
    DIR/files.lance       a row a file: where a photo lies, and its captions; or why it cannot be read
    DIR/index/            what FAISS searches, memory-mapped: see ``library_index``
    DIR/lock              held while one process writes

Lance (https://lancedb.github.io/lance) commits each change as a new version: a process that is killed leaves the last one.
Photos are written before the files that they lie in, so whatever is interrupted is taken up by the next ``index``.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from core.backbones.base import Backbone
from core.backbones.spec import portable, with_full_paths
from core.common.errors import LibraryError, brief
from core.common.schema import BackboneChoice
from core.retrieval.columns import width

if TYPE_CHECKING:
    import pyarrow as pa
    from lance import LanceDataset

LAYOUT = 3  # 2 had one embedding of each photo
ABOUT, PHOTOS, FILES, LOCK = "library.json", "photos.lance", "files.lance", "lock"
WIDEST = 2**16  # numbers of a vector
FULL = (28, 122)  # errno: no space left on device, disk quota exceeded
_CHOICE: TypeAdapter[Mapping[str, Any]] = TypeAdapter(BackboneChoice)


@dataclass(frozen=True)
class About:
    """What library.json says."""

    layout: int
    backbone: Mapping[str, Any]  # arguments of ``load_backbone``
    fingerprint: str  # of the backbone
    dim: int  # of the vectors, ``columns.width``
    folders: tuple[str, ...]  # whose photos it holds, as absolute paths

    @staticmethod
    def read(folder: Path) -> About:
        """That of the library in a folder; LibraryError where there is none, it is damaged, or of another version."""
        path = folder / ABOUT
        if not path.is_file():
            raise LibraryError(f"{folder} holds no library: `python -m core index FOLDER --library {folder}` makes one.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            layout = int(content["layout"])
            dim, fingerprint, folders = content["dim"], content["fingerprint"], content["folders"]
            whole = type(dim) is int and 0 < dim <= WIDEST and isinstance(fingerprint, str) and isinstance(folders, list)
            if not whole or not all(isinstance(place, str) and Path(place).is_absolute() for place in folders):
                raise ValueError("other values than a library has")
            about = About(layout, _CHOICE.validate_python(content["backbone"]), fingerprint, dim, tuple(folders))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise LibraryError(f"{path} is damaged: restore it, or index the photos into another folder.") from None
        except OSError as error:
            raise LibraryError(f"{path} cannot be read ({error.strerror}).") from None
        if layout > LAYOUT:
            raise LibraryError(f"The library {folder} is of a newer version of this program: update it (layout {layout}).")
        if layout < LAYOUT:
            raise LibraryError(f"The library {folder} is of an older version of this program: {about.again(folder)}")
        return about

    def again(self, folder: Path) -> str:
        """What to do where the library in a folder cannot be searched any more."""
        folders = " ".join(shlex.quote(shown_path(path)) for path in self.folders) or "FOLDER"
        command = f"python -m core index {folders} --library {shlex.quote(f'{folder}-new')}"
        return f"`{''.join(c for c in command if c.isprintable())}` makes it again, in a folder beside it."


@dataclass(frozen=True)
class PhotoLibrary:
    """A library that was opened: where it is, and what it says about itself."""

    folder: Path
    about: About

    def __post_init__(self) -> None:
        if shown_path(place := str(self.folder.resolve())) != place:  # Lance takes no other names
            raise LibraryError(f"The library {shown_path(place)} needs a folder whose path is UTF-8: rename it.")

    @staticmethod
    def open(folder: Path, backbone: Backbone | None = None) -> PhotoLibrary:
        """An existing library, for search with this backbone. Raises LibraryError: as ``About.read``, or it is another
        backbone's."""
        library = PhotoLibrary(folder, About.read(folder))
        if backbone is not None:
            library.check(backbone)
        return library

    @staticmethod
    def create(folder: Path, backbone: Backbone) -> PhotoLibrary:
        """The library in a folder, a new one where there is none. Raises LibraryError: as ``open``; or the folder holds
        something else, or cannot be written."""
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
        """Raise LibraryError unless the library is this backbone's, as it is now."""
        if backbone.fingerprint != self.about.fingerprint:
            spec = brief(" ".join(str(value) for value in portable(self.about.backbone).values() if value is not None))
            raise LibraryError(
                f"The library {self.folder} was made with another backbone ({spec}, fingerprint "
                f"{brief(self.about.fingerprint)}; this one is {backbone.name}, {backbone.fingerprint}). Choose that one, or "
                f"leave it behind: {self.about.again(self.folder)}"
            )

    def counts(self) -> dict[str, int]:
        """Photos, files, files that cannot be read, captions, photos with a date, and bytes on disk."""
        with self.readable():
            photos, files = self.photos(), self.files()
            captions = files.to_table(columns=["captions"])["captions"].to_pylist()
            return {
                "photos": photos.count_rows(),
                "files": files.count_rows("id IS NOT NULL"),
                "failed": files.count_rows("id IS NULL"),
                "captions": len({text for texts in captions for text in texts or ()}),
                "dated": photos.count_rows("taken IS NOT NULL"),
                "bytes": sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file()),
            }

    def write_about(self, about: About) -> None:
        """Replace library.json."""
        replace_file(self.folder / ABOUT, json.dumps(asdict(about), indent=2) + "\n")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """In this block no other process writes; LibraryError where another one does, or as ``readable``."""
        lock = FileLock(self.folder / LOCK, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise LibraryError(f"Another process is writing the library {self.folder}: wait until it is done.") from None
        except OSError as error:
            raise LibraryError(f"The library {self.folder} cannot be written ({error.strerror or error}).") from None
        try:
            with self.readable():
                yield
        finally:
            lock.release()

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Errors of the store in this block become errors for people: LibraryError, as the disk is full or a file damaged."""
        try:
            yield
        except LibraryError:
            raise
        except BaseException as error:  # what Lance raises, a panic of Rust included; the message is a page of Rust
            if not _of_the_store(error):
                raise
            if getattr(error, "errno", None) in FULL or "No space left" in str(error) or "os error 28" in str(error):
                raise LibraryError(
                    f"The disk of the library {self.folder} is full: make room and run the command again. "
                    "What was indexed before stays."
                ) from error
            if isinstance(error, PermissionError) or "Permission denied" in str(error) or "Read-only" in str(error):
                raise LibraryError(f"The library {self.folder} cannot be written: its folder is read-only.") from error
            raise LibraryError(
                f"The library {self.folder} is damaged ({brief(str(error))}). `python -m core library {self.folder} "
                "--verify` lists what is damaged. Index the photos into another folder if you cannot restore it."
            ) from error

    def photos(self) -> LanceDataset:
        """The photos' table, made on first use."""
        return self._table(PHOTOS, photo_schema(self.about))

    def files(self) -> LanceDataset:
        """The files' table, made on first use."""
        return self._table(FILES, file_schema())

    def _table(self, name: str, schema: pa.Schema) -> LanceDataset:
        lance = import_lance()
        path = self.folder / name
        if not (path / "_versions").is_dir():
            lance.write_dataset(schema.empty_table(), str(path))
        table = lance.dataset(str(path))
        if not table.schema.equals(schema):
            raise LibraryError(
                f"{path} has other columns than {ABOUT} says: restore it, or index the photos into another folder."
            )
        return table


def import_lance() -> ModuleType:
    """Lance, without pandas: pyarrow loads it where it is installed, which takes longer than a search."""
    if "lance" in sys.modules or "pandas" in sys.modules:
        return import_module("lance")
    sys.meta_path.insert(0, _NoPandas)  # type: ignore[arg-type]
    try:
        return import_module("lance")
    finally:
        sys.meta_path.remove(_NoPandas)  # type: ignore[arg-type]


class _NoPandas:
    """An importer that has no pandas, for pyarrow, which looks for it once."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


def photo_schema(about: About) -> pa.Schema:
    """A row a photo: id (32 hex digits as bytes), when it was taken, thumbnail (JPEG), vector [w]."""
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
    """A row a file: path (and its bytes where it is no UTF-8), the photo's id or the reason why there is none, captions."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            pa.field("raw", pa.binary()),
            pa.field("size", pa.int64(), nullable=False),
            pa.field("mtime_ns", pa.int64(), nullable=False),
            pa.field("id", pa.binary(16)),
            pa.field("reason", pa.string()),
            pa.field("captions", pa.list_(pa.string())),
        ]
    )


def replace_file(path: Path, content: str) -> None:
    """Write a small file so that it is either the old or the new one, whatever happens."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def absolute(path: Path) -> str:
    """A path from the root on, its links as they are: a link to a data disk is what people know it by."""
    return os.path.normpath(path.absolute())


def shown_path(path: str) -> str:
    """A path that a table and a terminal can hold: bytes that are no UTF-8 as backslash escapes."""
    return path.encode("utf-8", "backslashreplace").decode()


def _of_the_store(error: BaseException) -> bool:
    """Whether an error came from Lance or from a file of the library, rather than from our own code."""
    if isinstance(error, OSError):
        return True
    panic = type(error).__name__ == "PanicException"  # a BaseException, as Ctrl-C is
    if isinstance(error, ImportError) or not (isinstance(error, Exception) or panic):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    stores = (f"{os.sep}lance{os.sep}", f"pyarrow{os.sep}")
    return any(store in frame.filename for frame in frames[-6:] for store in stores)


def is_library(folder: Path) -> bool:
    """Whether a folder holds a library."""
    with suppress(OSError):
        return (folder / ABOUT).is_file()
    return False
