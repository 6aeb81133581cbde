"""What FAISS searches of a library: vectors in a memory-mapped file, and for many photos a compressed scan, too.

``index/snapshot.json`` says how many photos of which version of the table are in the files beside it. New photos are appended
to them; where photos went, they are written again under another number. Whatever is missing here is made from the table.
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
GROWTH = 1.25  # the scan is made again when there are so many times as many photos; until then the new ones are all looked at


@dataclass(frozen=True)
class Snapshot:
    """The photos that can be searched."""

    version: int  # of the photos' table
    photos: int  # how many; the table's first ones
    number: int  # of the files
    dim: int  # of the vectors
    scanned: int = 0  # how many of them the scan knows; 0 where there is none
    scan: str = ""  # its file's name

    @staticmethod
    def read(library: Path) -> Snapshot | None:
        """The last one of a library; None where there is none that can be used."""
        try:
            snapshot = Snapshot(**json.loads((library / FOLDER / SNAPSHOT).read_text(encoding="utf-8")))
            numbers = (snapshot.version, snapshot.photos, snapshot.number, snapshot.dim, snapshot.scanned)
            counted = all(type(number) is int and 0 <= number < 2**63 for number in numbers)
            if not counted or Path(snapshot.scan).name != snapshot.scan:
                return None
            sizes = {snapshot.ids: ID_BYTES * snapshot.photos, snapshot.vectors: 4 * snapshot.dim * snapshot.photos}
            sizes |= {snapshot.scan: 1} if snapshot.scanned else {}
            there = all((library / FOLDER / name).stat().st_size >= size for name, size in sizes.items())
            return snapshot if there else None
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    @property
    def ids(self) -> str:
        """File of the ids [n, 16] bytes."""
        return f"ids-{self.number}.bin"

    @property
    def vectors(self) -> str:
        """File of the vectors [n, d] float32."""
        return f"vectors-{self.number}.f32"


def refresh(library: Path, photos: LanceDataset, dim: int, finish: bool = True) -> Snapshot:
    """Bring the files up to date with the table; the caller holds the library's lock. ``photos``: the table. ``finish``:
    nothing more comes soon, so that the scan is brought up to date, too."""
    folder = library / FOLDER
    folder.mkdir(exist_ok=True)
    last, count = Snapshot.read(library), photos.count_rows()
    if last is None or not _extends(folder, last, photos, count):
        last = Snapshot(0, 0, _free_number(folder), dim)
    made = Snapshot(photos.version, count, last.number, dim, last.scanned, last.scan)
    _append(folder, made, last.photos, photos)
    if finish:
        made = _scanned(folder, made)
    replace_file(folder / SNAPSHOT, json.dumps(asdict(made)))
    if finish:
        _clean(folder, made)
    return made


def index_over(path: Path, shape: tuple[int, int], scan: faiss.Index | None) -> Index:
    """The index over a file of vectors [n, d] float32, with its scan; what a search reads of the file is not kept mapped."""
    rows = mapped(path, np.float32, shape)
    pages: Any = getattr(rows, "_mmap", None)
    if scan is None or not hasattr(pages, "madvise"):
        return Index(rows, scan)
    return Index(rows, scan, lambda: pages.madvise(mmap.MADV_DONTNEED))


def as_ids(ids: list[bytes]) -> np.ndarray:
    """[n, 16] uint8 of ids."""
    return np.frombuffer(b"".join(ids), np.uint8).reshape(-1, ID_BYTES)


def mapped(path: Path, dtype: type, shape: tuple[int, int]) -> np.ndarray:
    """A file as an array that stays on disk; np.memmap cannot map an empty one."""
    return np.memmap(path, dtype, "r", shape=shape) if shape[0] else np.empty(shape, dtype)


def scan_of(path: Path, shape: tuple[int, int]) -> faiss.IndexPQFastScan:
    """The compressed scan of a file of vectors [n, d] float32, which is read, not mapped: mapped files count as memory."""
    (count, dim), width = shape, 4 * shape[1]
    with path.open("rb") as file:

        def rows(first: int, number: int) -> np.ndarray:
            file.seek(first * width)
            return np.frombuffer(file.read(min(number, count - first) * width), np.float32).reshape(-1, dim)

        sample = np.concatenate([rows(row, 1) for row in spread_places(count, TRAINING_ROWS).tolist()])
        return compressed(sample, (rows(first, SCAN_ROWS) for first in range(0, count, SCAN_ROWS)))


def _extends(folder: Path, last: Snapshot, photos: LanceDataset, count: int) -> bool:
    """Whether the table's first photos still are those of the files: then only new ones are missing."""
    if last.photos > count:
        return False
    if last.version == photos.version:
        return True
    ids = mapped(folder / last.ids, np.uint8, (last.photos, ID_BYTES))
    start = 0
    for batch in photos.scanner(["id"], limit=last.photos, scan_in_order=True).to_batches() if last.photos else ():
        own = as_ids(batch["id"].to_pylist())
        if not np.array_equal(own, ids[start : start + len(own)]):
            return False
        start += len(own)
    return True


def _append(folder: Path, made: Snapshot, start: int, photos: LanceDataset) -> None:
    """Write ids and vectors of the photos from ``start`` on behind those that are there."""
    with (folder / made.ids).open("ab") as ids, (folder / made.vectors).open("ab") as vectors:
        # A process that was killed may have written more than its snapshot says.
        ids.truncate(start * ID_BYTES)
        vectors.truncate(start * made.dim * 4)
        if start < made.photos:
            scanner = photos.scanner(
                ["id", "vector"], offset=start, limit=made.photos - start, batch_size=READ_ROWS, scan_in_order=True
            )
            for batch in scanner.to_batches():
                ids.write(b"".join(batch["id"].to_pylist()))
                vectors.write(batch["vector"].flatten().to_numpy(zero_copy_only=False).tobytes())
        for file in (ids, vectors):
            file.flush()
            os.fsync(file.fileno())


def _scanned(folder: Path, made: Snapshot) -> Snapshot:
    """The snapshot with a scan that knows nearly all photos, where they are so many that it pays."""
    if made.photos < APPROXIMATE_FROM:
        return replace(made, scanned=0, scan="")
    if made.scanned and made.photos <= made.scanned * GROWTH:
        return made
    name = f"scan-{made.number}-{made.photos}.faiss"
    with whole(folder / name) as partial:
        faiss.write_index(scan_of(folder / made.vectors, (made.photos, made.dim)), str(partial))
    return replace(made, scanned=made.photos, scan=name)


def _clean(folder: Path, made: Snapshot) -> None:
    """Remove files of earlier snapshots; who has them mapped keeps them."""
    kept = {SNAPSHOT, made.ids, made.vectors, made.scan}
    for path in folder.iterdir():
        if path.name.startswith(("ids-", "vectors-", "scan-")) and path.name not in kept:
            path.unlink(missing_ok=True)


def _free_number(folder: Path) -> int:
    numbers = [path.stem.split("-")[1] for path in folder.glob("ids-*.bin")]
    return 1 + max([int(number) for number in numbers if number.isdigit()], default=0)
