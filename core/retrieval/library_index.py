"""The search index of a library: the vectors of its table in a file that is memory-mapped, so that they load at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from core.common.files import whole
from core.retrieval.library import PhotoLibrary

if TYPE_CHECKING:
    import pyarrow as pa
    from lance import LanceDataset

FOLDER = "index"
CAPTIONS = "texts-"  # how names of other files in the folder start
READ_ROWS = 4_096


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
                for part in _parts(photos):
                    out.write(part.tobytes())
            for other in file.parent.iterdir():
                if other != file and not other.name.startswith(CAPTIONS):
                    other.unlink(missing_ok=True)
        except OSError:
            return np.concatenate([np.empty((0, shape[1]), np.float32), *_parts(photos)])
    return np.memmap(file, np.float32, "r", shape=shape) if shape[0] else np.empty(shape, np.float32)


def _parts(photos: LanceDataset) -> Iterator[np.ndarray]:
    for batch in photos.scanner(["vector"], batch_size=READ_ROWS, scan_in_order=True).to_batches():
        yield vectors_of(batch)


def vectors_of(batch: pa.RecordBatch) -> np.ndarray:
    """The vectors [n, w] float32 of rows of the table."""
    return batch["vector"].flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)


def ids_of(ids: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Ids of photos as an array [n, 16] uint8."""
    return np.frombuffer(b"".join(ids.to_pylist()), np.uint8).reshape(-1, 16)
