"""Compare a library on disk with its photos and with its own index."""

from collections.abc import Callable
from pathlib import Path

from core.common.errors import PhotoError
from core.data.decode import content_id
from core.data.image_io import photo_bytes
from core.retrieval.indexing import read_files
from core.retrieval.library import PhotoLibrary, shown_path
from core.retrieval.library_photos import FOLDER, parts, vectors


def problems(library: PhotoLibrary, progress: Callable[[int, int], None] = lambda done, total: None) -> list[str]:
    """What differs from what was indexed, one sentence each. Reads every file and every vector. Raises LibraryError: when a
    table is damaged."""
    with library.readable():
        photos, row, found = library.photos(), 0, list[str]()
        ids = [id.hex() for id in photos.to_table(columns=["id"])["id"].to_pylist()]
        indexed = vectors(library, photos)
        for part in parts(photos):
            wrong = (indexed[row : row + len(part)] != part).any(1).nonzero()[0]
            found += [f"{ids[row + at]}: its vector differs from the index: remove {library.folder / FOLDER}." for at in wrong]
            row += len(part)
        files = {path: file.id for path, file in read_files(library).items() if file.id}
    known, shown = set(ids), set(files.values())
    found += [f"{id}: no file has this photo: index again." for id in ids if id not in shown]
    for done, (path, id) in enumerate(files.items(), 1):
        try:
            if content_id(photo_bytes(Path(path), shown_path(path))) != id:
                found.append(f"{shown_path(path)}: the file has changed since it was indexed.")
            elif id not in known:
                found.append(f"{shown_path(path)}: its photo is missing: index again.")
        except PhotoError as error:
            found.append(str(error))
        progress(done, len(files))
    return found
