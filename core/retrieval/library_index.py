"""The search index of a library: vectors in a memory-mapped file, and a compressed scan if there are many photos.

``index/snapshot.json`` holds the table version and the number of photos of the files beside it. New photos are appended to
them. If photos were removed, the files are written again under a new number. Missing files are rebuilt from the table.
"""

from __future__ import annotations

import json
import mmap
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from core.common.files import whole
from core.retrieval.index import APPROXIMATE_FROM, TRAINING_ROWS, Index, compressed
from core.retrieval.library import replace_file
from core.retrieval.popularity import spread_places

if TYPE_CHECKING:
    from lance import LanceDataset

FOLDER, SNAPSHOT = "index", "snapshot.json"
ID_BYTES = 16
READ_ROWS, SCAN_ROWS = 4_096, 16_384
GROWTH = 1.25  # the scan is rebuilt when photos grow by this factor; until then, a search reads all new photos


@dataclass(frozen=True)
class Snapshot:
    """The content of ``snapshot.json``: which photos can be searched."""

    version: int  # of the photos' table
    photos: int  # number of photos, the first ones of the table
    number: int  # in the file names
    dim: int  # of the vectors
    scanned: int = 0  # number of photos in the scan; 0: no scan
    scan: str = ""  # file name of the scan

    @staticmethod
    def read(library: Path) -> Snapshot | None:
        """Read a library's snapshot. None if it is missing or unusable."""
        try:
            snapshot = Snapshot(**json.loads((library / FOLDER / SNAPSHOT).read_text(encoding="utf-8")))
            numbers = (snapshot.version, snapshot.photos, snapshot.number, snapshot.dim, snapshot.scanned)
            valid = all(type(number) is int and 0 <= number < 2**63 for number in numbers)
            if not valid or Path(snapshot.scan).name != snapshot.scan:
                return None
            sizes = {snapshot.ids: ID_BYTES * snapshot.photos, snapshot.vectors: 4 * snapshot.dim * snapshot.photos}
            sizes |= {snapshot.scan: 1} if snapshot.scanned else {}
            complete = all((library / FOLDER / name).stat().st_size >= size for name, size in sizes.items())
            return snapshot if complete else None
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    @property
    def ids(self) -> str:
        """File name of the ids [n, 16] bytes."""
        return f"ids-{self.number}.bin"

    @property
    def vectors(self) -> str:
        """File name of the vectors [n, d] float32."""
        return f"vectors-{self.number}.f32"


def refresh(library: Path, photos: LanceDataset, dim: int, finish: bool = True) -> Snapshot:
    """Update the files from the table ``photos``. The caller holds the library's lock. ``finish``: whether to update the scan
    too, and remove old files: no more photos follow soon."""
    folder = library / FOLDER
    folder.mkdir(exist_ok=True)
    last, count = Snapshot.read(library), photos.count_rows()
    if last is None or not _extends(folder, last, photos, count):
        last = Snapshot(0, 0, _free_number(folder), dim)
    snapshot = Snapshot(photos.version, count, last.number, dim, last.scanned, last.scan)
    _append(folder, snapshot, last.photos, photos)
    if finish:
        snapshot = _scanned(folder, snapshot)
    replace_file(folder / SNAPSHOT, json.dumps(asdict(snapshot)))
    if finish:
        _clean(folder, snapshot)
    return snapshot


def index_over(path: Path, shape: tuple[int, int], scan: faiss.Index | None) -> Index:
    """The index over a file of vectors [n, d] float32. With a scan, a search releases the pages that it read."""
    rows = mapped(path, np.float32, shape)
    pages: Any = getattr(rows, "_mmap", None)
    if scan is None or not hasattr(pages, "madvise"):
        return Index(rows, scan)
    return Index(rows, scan, lambda: pages.madvise(mmap.MADV_DONTNEED))


def as_ids(ids: list[bytes]) -> np.ndarray:
    """Ids as an array [n, 16] uint8."""
    return np.frombuffer(b"".join(ids), np.uint8).reshape(-1, ID_BYTES)


def mapped(path: Path, dtype: type, shape: tuple[int, int]) -> np.ndarray:
    """A file as a memory-mapped array. np.memmap cannot map an empty file."""
    return np.memmap(path, dtype, "r", shape=shape) if shape[0] else np.empty(shape, dtype)


def scan_of(path: Path, shape: tuple[int, int]) -> faiss.IndexPQFastScan:
    """The compressed scan of a file of vectors [n, d] float32. The file is read, not mapped: mapped files count as memory."""
    (count, dim), width = shape, 4 * shape[1]
    with path.open("rb") as file:

        def rows(first: int, number: int) -> np.ndarray:
            file.seek(first * width)
            return np.frombuffer(file.read(min(number, count - first) * width), np.float32).reshape(-1, dim)

        sample = np.concatenate([rows(row, 1) for row in spread_places(count, TRAINING_ROWS).tolist()])
        return compressed(sample, (rows(first, SCAN_ROWS) for first in range(0, count, SCAN_ROWS)))


def _extends(folder: Path, last: Snapshot, photos: LanceDataset, count: int) -> bool:
    """Whether the table's first photos are still those of the files, so that only new photos are missing."""
    if last.photos > count:
        return False
    if last.version == photos.version:
        return True
    ids = mapped(folder / last.ids, np.uint8, (last.photos, ID_BYTES))
    start = 0
    for batch in photos.scanner(["id"], limit=last.photos, scan_in_order=True).to_batches() if last.photos else ():
        table_ids = as_ids(batch["id"].to_pylist())
        if not np.array_equal(table_ids, ids[start : start + len(table_ids)]):
            return False
        start += len(table_ids)
    return True


def _append(folder: Path, snapshot: Snapshot, start: int, photos: LanceDataset) -> None:
    """Append the ids and vectors of the photos from ``start`` on to the files."""
    with (folder / snapshot.ids).open("ab") as ids, (folder / snapshot.vectors).open("ab") as vectors:
        # A killed process may have written more than its snapshot says.
        ids.truncate(start * ID_BYTES)
        vectors.truncate(start * snapshot.dim * 4)
        if start < snapshot.photos:
            scanner = photos.scanner(
                ["id", "vector"], offset=start, limit=snapshot.photos - start, batch_size=READ_ROWS, scan_in_order=True
            )
            for batch in scanner.to_batches():
                ids.write(b"".join(batch["id"].to_pylist()))
                vectors.write(batch["vector"].flatten().to_numpy(zero_copy_only=False).tobytes())
        for file in (ids, vectors):
            file.flush()
            os.fsync(file.fileno())


def _scanned(folder: Path, snapshot: Snapshot) -> Snapshot:
    """The snapshot with a scan of nearly all photos, if there are enough photos for a scan to pay."""
    if snapshot.photos < APPROXIMATE_FROM:
        return replace(snapshot, scanned=0, scan="")
    if snapshot.scanned and snapshot.photos <= snapshot.scanned * GROWTH:
        return snapshot
    name = f"scan-{snapshot.number}-{snapshot.photos}.faiss"
    with whole(folder / name) as partial:
        faiss.write_index(scan_of(folder / snapshot.vectors, (snapshot.photos, snapshot.dim)), str(partial))
    return replace(snapshot, scanned=snapshot.photos, scan=name)


def _clean(folder: Path, snapshot: Snapshot) -> None:
    """Remove files of earlier snapshots. A process that has them mapped keeps them."""
    kept = {SNAPSHOT, snapshot.ids, snapshot.vectors, snapshot.scan}
    for path in folder.iterdir():
        if path.name.startswith(("ids-", "vectors-", "scan-")) and path.name not in kept:
            path.unlink(missing_ok=True)


def _free_number(folder: Path) -> int:
    numbers = [path.stem.split("-")[1] for path in folder.glob("ids-*.bin")]
    return 1 + max([int(number) for number in numbers if number.isdigit()], default=0)
