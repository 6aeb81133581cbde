"""What a library holds, and whether its parts agree."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from core.common.errors import LibraryError
from core.retrieval import library_index
from core.retrieval.indexing import read_files
from core.retrieval.library import FILES, PHOTOS, PhotoLibrary

READ_ROWS = 1_024


def count(library: PhotoLibrary) -> dict[str, int]:
    """Photos, files, files that cannot be read, captions, photos with a date, and bytes on disk."""
    with library.readable():
        photos, files = library.photos(), library.files()
        captions = files.to_table(columns=["captions"])["captions"]
        size = sum((Path(folder) / name).stat().st_size for folder, _, names in os.walk(library.folder) for name in names)
        return {
            "photos": photos.count_rows(),
            "files": files.count_rows("id IS NOT NULL"),
            "failed": files.count_rows("id IS NULL"),
            "captions": len({text for own in captions.to_pylist() for text in own or ()}),
            "dated": photos.count_rows("taken IS NOT NULL"),
            "bytes": size,
        }


def problems(library: PhotoLibrary, progress: Callable[[int, int], None] = lambda done, total: None) -> list[str]:
    """What is wrong with a library, in words; everything in it is read."""
    found = [f"{name} is missing: index the photos again." for name in (PHOTOS, FILES) if not (library.folder / name).is_dir()]
    if found:
        return found
    try:
        with library.readable():
            return _problems(library, progress)
    except LibraryError as error:
        return [str(error)]


def _problems(library: PhotoLibrary, progress: Callable[[int, int], None]) -> list[str]:
    photos, found = library.photos(), []
    files = read_files(library)
    snapshot = library_index.Snapshot.read(library.folder)
    folder, total = library.folder / library_index.FOLDER, photos.count_rows()
    command = f"remove {folder} and run `python -m core index --library {library.folder}`, which makes it again."
    if snapshot is None or snapshot.photos != total:
        found.append(f"The index knows {0 if snapshot is None else snapshot.photos:,} of {total:,} photos: {command}")
        vectors = ids = None
    else:
        vectors = library_index.mapped(folder / snapshot.vectors, np.float32, (total, library.about.dim))
        ids = library_index.mapped(folder / snapshot.ids, np.uint8, (total, library_index.ID_BYTES))
    seen: set[bytes] = set()
    not_finite = differing = pictures = done = 0
    for batch in photos.scanner(batch_size=READ_ROWS, scan_in_order=True).to_batches():
        own = batch["id"].to_pylist()
        seen.update(own)
        rows = batch["vector"].flatten().to_numpy(zero_copy_only=False).reshape(len(own), -1)
        prefix = batch["prefix"].flatten().to_numpy(zero_copy_only=False).reshape(len(own), -1)
        not_finite += int((~np.isfinite(rows).all(1) | ~np.isfinite(prefix).all(1)).sum())
        pictures += sum(not picture.startswith(b"\xff\xd8") for picture in batch["thumbnail"].to_pylist())
        if vectors is not None and ids is not None:
            there = np.frombuffer(b"".join(own), np.uint8).reshape(-1, library_index.ID_BYTES)
            same = (ids[done : done + len(own)] == there).all(1) & (vectors[done : done + len(own)] == rows).all(1)
            differing += int((~same).sum())
        done += len(own)
        progress(done, total)
    lost = sum(row.id is not None and row.id not in seen for row in files.values())
    again = f"run `python -m core index --library {library.folder}`, which reads them again."
    other = "index the photos into another folder."
    counts = (
        (total - len(seen), "photos are there twice", other),
        (not_finite, "photos have numbers that are not finite", other),
        (pictures, "photos have no thumbnail that can be shown", other),
        (differing, "photos differ from the index", command),
        (lost, "files belong to a photo that is missing", again),
    )
    return found + [f"{number:,} {what}: {todo}" for number, what, todo in counts if number]
