"""Update a library from folders of photos: only new or changed files are read and encoded.

A photo is identified by the hash of its content, so moved and copied files are not encoded again. Work is committed every few
seconds. The next run continues interrupted work.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from core.backbones.base import Backbone
from core.common.device import batch_size
from core.common.errors import LibraryError, PhotoError
from core.common.files import no_folder
from core.common.stopwatch import Stopwatch
from core.data.decode import Read, read_photo
from core.data.decode_pool import decode_photo
from core.data.find_images import is_image, is_raw, walk
from core.data.image_io import GONE, UNREADABLE, reason_of
from core.data.read_ahead import BATCH, read_ahead
from core.retrieval.encoding import Encoded, Outcome, encode
from core.retrieval.library import PhotoLibrary, absolute, file_schema, photo_schema, shown_path
from core.retrieval.library_photos import vectors

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER_MISSING = "{folder} is missing, empty or unreadable. Is its drive connected? The library keeps its photos."
COMMIT_PHOTOS, COMMIT_SECONDS = 1_024, 20
MOST_FRAGMENTS, FRAGMENT_ROWS = 1_000, 16_384  # each commit adds a fragment, and a library may get one every day
KEPT_VERSIONS = timedelta(hours=1)  # other processes may still search them
NOT_NOW = (GONE, UNREADABLE)  # perhaps a disconnected drive: the next run tries again
LATEST = 2**63 - 1  # nanoseconds: the year 2262; with an unset clock, a file time may be later


@dataclass(frozen=True, slots=True)  # there may be a million
class FileRow:
    """A file that was read: the id of its photo, or None and the ``reason`` why there is no photo."""

    size: int
    mtime_ns: int
    id: str | None  # 32 hex digits
    reason: str | None = None


@dataclass
class IndexReport:
    photos: int = 0  # in the library now
    added: int = 0  # new photos, also of files with new content
    removed: int = 0  # photos that no file has any more
    failed: list[tuple[str, str]] = field(default_factory=list)  # path, reason in English, as the library keeps it
    missing: list[str] = field(default_factory=list)  # folders that are missing, empty or unreadable, whose photos are kept
    seconds: dict[str, float] = field(default_factory=dict)  # by step


@dataclass(frozen=True)
class Progress:
    step: str  # "looking", "encoding" or "writing"
    done: int  # files
    total: int  # 0: unknown


def index_folders(
    library: PhotoLibrary,
    folders: Sequence[Path],
    backbone: Backbone,
    progress: Callable[[Progress], None] = lambda _: None,
    forget_missing: bool = False,
    stop: Callable[[], bool] = lambda: False,
    engine: Engine | None = None,
) -> IndexReport:
    """Update the library from these folders. Photos of other folders stay unchanged.

    Args:
        folders: indexed with all folders below. Empty: the folders that the library holds.
        forget_missing: whether to remove photos of folders that are missing or empty.
        stop: returns True to end early; photos added so far stay.
        engine: encodes the photos. None: this process.

    Raises LibraryError: when there is nothing to index, another process is writing, or the disk is full.
    """
    with library.writing():
        library = PhotoLibrary.open(library.folder, backbone)  # another process may have added folders
        roots = [Path(absolute(folder)) for folder in folders] or [Path(path) for path in library.about.folders]
        if not roots:
            raise LibraryError(f"The library {library.folder} knows no folder yet: name one or more to index.")
        for root in roots:
            if not root.is_dir() and str(root) not in library.about.folders:
                raise LibraryError(no_folder(shown_path(str(root))))
            if root.resolve() == library.folder.resolve():
                raise LibraryError(f"{root} is the library itself: name the folder that your photos are in.")
        return _Run(library, roots, progress, stop).run(engine or partial(encode_here, backbone), forget_missing)


class _Run:
    """One run of ``index_folders``. The caller holds the library's lock."""

    def __init__(
        self, library: PhotoLibrary, roots: Sequence[Path], progress: Callable[[Progress], None], stop: Callable[[], bool]
    ) -> None:
        self.library, self.roots, self.progress, self.stop = library, roots, progress, stop
        self._report = IndexReport()
        with library.readable():
            self._photos = library.photos()
            self._ids = {id.hex() for rows in self._photos.to_batches(columns=["id"]) for id in rows["id"].to_pylist()}
            self._known = read_files(library)
        self._files = dict(self._known)

    def run(self, engine: Engine, forget_missing: bool) -> IndexReport:
        stopwatch = Stopwatch()
        seen = self._scan(forget_missing)
        new = [path for path, stat in seen.items() if not self._unchanged(path, stat)]
        stopwatch.lap("look")
        self._encode(engine(new, self._ids), len(new), seen)
        stopwatch.lap("encode")
        with self.library.readable():
            self._finish(seen)
        stopwatch.lap("write")
        self._report.seconds = stopwatch.laps
        return self._report

    def _scan(self, forget_missing: bool) -> dict[str, tuple[int, int]]:
        """Size and time of change of every image in the folders, and of known files in missing or unreadable folders."""
        seen: dict[str, tuple[int, int]] = {}
        kept: list[str] = []
        for root in self.roots:
            empty = True
            for path, stat in walk_images(root, self.library.folder, kept):
                empty, seen[path] = False, stat  # seen already, if one folder is inside another
                if len(seen) % 5_000 == 0:
                    self.progress(Progress("looking", len(seen), 0))
            if empty:
                kept.append(str(root))
        if forget_missing:
            kept = [folder for folder in kept if Path(folder).exists() and folder not in map(str, self.roots)]
        self._report.missing = list(dict.fromkeys(map(shown_path, kept)))
        for path, row in self._known.items():
            if path not in seen and _inside(path, kept):
                seen[path] = (row.size, row.mtime_ns)
        return seen

    def _unchanged(self, path: str, stat: tuple[int, int]) -> bool:
        row = self._known.get(path)
        if row is None or (row.size, row.mtime_ns) != stat:
            return False
        return row.reason is not None if row.id is None else row.id in self._ids

    def _encode(self, batches: Iterable[list[tuple[str, Outcome]]], total: int, seen: Mapping[str, tuple[int, int]]) -> None:
        done, committed = 0, time.monotonic()
        photos, files = list[Encoded](), dict[str, FileRow]()  # to commit next
        for batch in batches:
            if self.stop():
                break
            for path, photo in batch:
                if isinstance(photo, PhotoError):
                    reason = reason_of(photo)
                    if reason.template in NOT_NOW:
                        self._report.failed.append((shown_path(path), str(reason)))
                        continue
                    row = FileRow(*seen[path], None, str(reason))
                else:
                    row = FileRow(*seen[path], photo if isinstance(photo, str) else photo.id)
                self._files[path] = files[path] = row
                if isinstance(photo, Encoded) and photo.id not in self._ids:
                    photos.append(photo)
                    self._ids.add(photo.id)
                    self._report.added += 1
            done += len(batch)
            self.progress(Progress("encoding", done, total))
            if len(photos) >= COMMIT_PHOTOS or time.monotonic() - committed > COMMIT_SECONDS:
                self._commit(photos, files)
                photos, files, committed = [], {}, time.monotonic()
        self._commit(photos, files)

    def _commit(self, photos: Sequence[Encoded], files: Mapping[str, FileRow]) -> None:
        """Write photos first, then files. If interrupted in between, the next run finds the photos by their content."""
        import lance

        with self.library.readable():
            if photos:
                table = photo_table(photos, photo_schema(self.library.about))
                self._photos = lance.write_dataset(table, self._photos, mode="append")
            if files:
                lance.write_dataset(_file_table(files), self.library.files(), mode="append")

    def _finish(self, seen: Mapping[str, tuple[int, int]]) -> None:
        report = self._report
        roots = [str(root) for root in self.roots]
        if not self.stop():
            for path in [path for path in self._files if path not in seen and _inside(path, roots)]:
                del self._files[path]
            self._remove(self._ids - {row.id for row in self._files.values()})
        if self._files != self._known:
            import lance

            lance.write_dataset(_file_table(self._files), self.library.files(), mode="overwrite")
        bad = [(path, row.reason) for path, row in self._files.items() if row.reason is not None and _inside(path, roots)]
        report.failed += [(shown_path(path), reason) for path, reason in bad]
        folders = tuple(dict.fromkeys([*self.library.about.folders, *roots]))
        if folders != self.library.about.folders:
            self.library.write_about(replace(self.library.about, folders=folders))
        if len(self._photos.get_fragments()) > MOST_FRAGMENTS:
            self._photos.optimize.compact_files(target_rows_per_fragment=FRAGMENT_ROWS, num_threads=1, batch_size=256)
            self._photos = self.library.photos()
        vectors(self.library, self._photos)  # prepares the search
        for table in (self._photos, self.library.files()):
            table.cleanup_old_versions(KEPT_VERSIONS, delete_unverified=True)
        report.photos = self._photos.count_rows()

    def _remove(self, ids: set[str]) -> None:
        listed = sorted(ids)
        for start in range(0, len(listed), 1_000):
            values = ", ".join(f"X'{id}'" for id in listed[start : start + 1_000])
            self._photos.delete(f"id IN ({values})")
        self._photos = self.library.photos()
        self._report.removed = len(ids)


# Takes file paths and the ids of known photos. Yields batches of (path, outcome), in any order.
Engine = Callable[[Sequence[str], Set[str]], Iterator[list[tuple[str, Outcome]]]]


def read_file(path: str, known: Set[str], backbone: Backbone) -> Read:
    return read_photo(Path(path).name, Path(path), known, partial(decode_photo, framing=backbone.framing))


def encode_here(backbone: Backbone, paths: Sequence[str], known: Set[str]) -> Iterator[list[tuple[str, Outcome]]]:
    """The ``Engine`` of this process. While a batch is encoded, the next photos are decoded."""
    for batch in read_ahead(paths, lambda path: read_file(path, known, backbone), batch_size(backbone.device, BATCH)):
        yield encode(batch, backbone)


def photo_table(photos: Sequence[Encoded], schema: pa.Schema) -> pa.Table:
    """Rows for the table of photos, see ``library.photo_schema``."""
    import pyarrow as pa

    vectors = pa.array(torch.cat([photo.row for photo in photos]).numpy())  # lists would be converted number by number
    columns = {
        "id": [bytes.fromhex(photo.id) for photo in photos],
        "taken": [photo.taken for photo in photos],
        "thumbnail": [photo.thumbnail for photo in photos],
        "vector": pa.FixedSizeListArray.from_arrays(vectors, type=schema.field("vector").type),
    }
    return pa.table(columns, schema=schema)


def read_files(library: PhotoLibrary) -> dict[str, FileRow]:
    """All files of a library, by path. A killed process may leave two rows of a file: the later one counts."""
    files: dict[str, FileRow] = {}
    for batch in library.files().to_batches(scan_in_order=True):
        columns = [batch[name].to_pylist() for name in ("path", "raw", "size", "mtime_ns", "id", "reason")]
        for path, raw, size, mtime, id, reason in zip(*columns, strict=True):
            files[path if raw is None else os.fsdecode(raw)] = FileRow(size, mtime, id and id.hex(), reason)
    return files


def walk_images(root: Path, library: Path, unreadable: list[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield every image below a folder with its size and time of change (ns). ``library``: a folder to skip. ``unreadable``:
    folders that cannot be listed are appended to it."""
    skipped = {os.path.realpath(library)}
    for folder, names in walk(root, skipped, lambda error: unreadable.append(str(error.filename))):
        pictures = {Path(name).stem for name in names if not is_raw(name)} if any(map(is_raw, names)) else set()
        for name in names:
            # Cameras write a raw file and a JPEG of one photo: skip the raw file.
            if is_image(Path(name)) and not (is_raw(name) and Path(name).stem in pictures):
                path = os.path.join(folder, name)  # noqa: PTH118 (faster, for a million files)
                with suppress(OSError):  # deleted meanwhile, or a broken link
                    stat = os.stat(path)  # noqa: PTH116
                    yield path, (stat.st_size, min(stat.st_mtime_ns, LATEST))


def _file_table(files: Mapping[str, FileRow]) -> pa.Table:
    import pyarrow as pa

    rows = []
    for path, row in files.items():
        shown = shown_path(path)
        raw = None if shown == path else os.fsencode(path)
        rows.append((shown, raw, row.size, row.mtime_ns, row.id and bytes.fromhex(row.id), row.reason))
    schema = file_schema()
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)


def _inside(path: str, folders: Iterable[str]) -> bool:
    """Whether a path is one of the folders or below one of them."""
    return any(path == folder or path.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)
