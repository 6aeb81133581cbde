"""The command ``search``: the best photos or captions of a folder or a library, zero-shot and adapted."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from core.backbones.base import Backbone
from core.backbones.lora import Lora
from core.cli import format
from core.cli.commands import Answer, chosen_adapters, log, reported, task_request
from core.common.errors import DataError, GalleryError, PhotoError, UsageError
from core.common.progress import Steps
from core.common.stopwatch import Stopwatch
from core.data import check_folder, read_folder
from core.data.album import make_album
from core.data.captions import clean_captions
from core.data.find_images import SUFFIXES as PHOTO_SUFFIXES
from core.data.find_images import is_there, photos_in
from core.data.image_io import open_photo
from core.data.sample import caption_texts
from core.names.file import NAMES_FILE, read_names
from core.names.teach import TaughtNames
from core.retrieval.adapter import ZERO_SHOT, Adapter, finite
from core.retrieval.columns import text_rows
from core.retrieval.gallery import AddReport, Gallery
from core.retrieval.index import Hit, Ranking, moves
from core.retrieval.library import PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.popularity import popularity, spread_rows
from core.retrieval.questions import Query
from core.retrieval.scoped import WORDS, ScopedSearch
from core.retrieval.where import Where


@dataclass(frozen=True)
class _Found:
    photos: int
    rankings: Mapping[str, Ranking]  # by adapter's name
    moved: Mapping[str, Mapping[str, int]]  # as ``index.moves``, by adapter's name
    paths: Mapping[str, object]  # of photos, by key
    failed: Sequence[Mapping[str, str]] = ()
    duplicates: Sequence[str] = ()


def search(arguments: Namespace) -> Answer:
    if arguments.library is None and arguments.folder is not None:
        raise UsageError("CORE_FOLDER_OF_LIBRARY")
    where = Where(arguments.folder and arguments.folder.absolute(), arguments.since, arguments.until)
    words = [part for part in arguments.query if not is_photo(part)]
    files = [Path(part) for part in arguments.query if is_photo(part)]
    kind = (arguments.find or ("photos" if words else "captions")).removesuffix("s")
    if kind == "caption" and (where or arguments.link is not None):
        raise UsageError("CORE_FILTERED_CAPTIONS")
    query = Query.parse(words, [open_photo(path) for path in files], arguments.without)
    # Check the input before loading models, which takes seconds.
    wanted = task_request(arguments)
    library = None if arguments.library is None else PhotoLibrary.open(arguments.library)
    paths = _photos(arguments.gallery) if library is None and kind == "photo" else []

    stopwatch = Stopwatch()
    backbone, adapters = chosen_adapters(arguments, wanted, stopwatch)
    opened = None if library is None else LibraryPhotos(library, backbone)
    names = load_names(arguments.names, backbone, opened)
    if names.entries:
        beside = {name: a for name, a in adapters.items() if a != ZERO_SHOT} or {"names": ZERO_SHOT}
        adapters = {"zero-shot": ZERO_SHOT, **{name: a.with_names(names.on) for name, a in beside.items()}}
    stopwatch.lap("load")
    if kind == "caption":
        found = _rank_captions(arguments, opened, query, backbone, adapters, stopwatch)
    else:
        gallery = Gallery(backbone, limit=len(paths)) if opened is None else None
        filters = str(where.folder or ""), where.since, where.until
        scoped = ScopedSearch(WORDS, "", None, gallery, opened, names, *filters, query)
        found = _rank_photos(scoped, paths, arguments, adapters, stopwatch)
    stopwatch.lap("search")
    album = None if arguments.link is None else _album(arguments, found)
    data = {
        "query": " + ".join([*query.texts, *map(str, files), *(f"-{text}" for text in query.without)]),
        "task": arguments.task,
        "photos": found.photos,
        "total": next(iter(found.rankings.values())).total,
        "failed": found.failed,
        "duplicates": list(found.duplicates),
        "album": album,
        "rankings": {
            name: [
                {
                    "rank": hit.rank,
                    kind: str(found.paths.get(hit.key, hit.label)),
                    "score": round(hit.score, 6),
                    "moved": found.moved[name].get(hit.key),
                }
                for hit in ranking.hits[: arguments.top]
            ]
            for name, ranking in found.rankings.items()
        },
        "seconds": {step: round(taken, 3) for step, taken in stopwatch.laps.items()},
    }
    return Answer(data, lambda data: format.rankings(data, kind))


def _rank_photos(
    search: ScopedSearch, files: Sequence[Path], arguments: Namespace, adapters: Mapping[str, Adapter], stopwatch: Stopwatch
) -> _Found:
    """Rank the photos of a library, or of these files."""
    paths: Mapping[str, object] = search.paths
    report, failed = AddReport(), list[dict[str, str]]()
    if search.gallery is not None:
        report = search.gallery.add(files, partial(Steps(log), "reading"))
        failed = reported([(failure.name, failure.reason) for failure in report.failed])
        if not search.photos:
            raise DataError("CORE_NONE_READABLE_IN", n=len(files), folder=arguments.gallery)
        # The gallery changes names to be safe and unique on the page. Here the user needs the path: of equal files, the first.
        ids = sorted(report.ids.items(), reverse=True)
        paths = {key: files[row].relative_to(arguments.gallery).as_posix() for row, key in ids}
        stopwatch.lap("index")
    elif search.library is not None and search.folder:
        search.library.check_folder(Path(search.folder))
    # Ranks are compared, so all photos of a gallery need one.
    rankings = {name: search.rank(adapter, max(arguments.top, len(search.photos))) for name, adapter in adapters.items()}
    moved = {name: search.moves(rankings["zero-shot"], ranking) for name, ranking in rankings.items()}
    photos = len(search.library or search.photos)
    return _Found(photos, rankings, moved, paths, failed, report.duplicates)


def _rank_captions(
    arguments: Namespace,
    library: LibraryPhotos | None,
    query: Query,
    backbone: Backbone,
    adapters: Mapping[str, Adapter],
    stopwatch: Stopwatch,
) -> _Found:
    """Rank all captions of a library or a folder. Only the question's photos are encoded."""
    if library is not None:
        texts, photos = library.captions, len(library)
        if not texts:
            raise GalleryError("CORE_LIBRARY_NO_CAPTIONS")
    else:
        samples = read_folder(arguments.gallery)
        texts = tuple(dict.fromkeys(text for sample in samples for text in clean_captions(caption_texts(sample))))
        if not texts:
            raise DataError("CORE_NO_CAPTIONS_IN", folder=arguments.gallery)
        photos = len({sample.path for sample in samples})
    prefixes = backbone.text_prefix(texts)
    stopwatch.lap("index")
    question = query.question(backbone)

    def cosines(lora: Lora | None) -> Tensor:
        return finite(backbone.text_suffix(prefixes, lora)) @ question.embedding(backbone, lora)

    rankings: dict[str, Ranking] = {}
    for name, adapter in adapters.items():
        scores = cosines(adapter.lora) * adapter.weight
        if adapter.weight < 1:
            scores += cosines(adapter.base) * (1 - adapter.weight)
        if library is not None:
            some_photos = library.index_for(adapter).take(spread_rows(len(library)))
            scores = scores - popularity(some_photos, text_rows(backbone, prefixes, adapter))
        best = scores.sort(descending=True, stable=True).indices.tolist()
        hits = [Hit(texts[i], texts[i], float(scores[i]), rank) for rank, i in enumerate(best, 1)]
        rankings[name] = Ranking(tuple(hits), len(texts))
    return _Found(photos, rankings, {name: moves(rankings["zero-shot"], r) for name, r in rankings.items()}, {})


def _album(arguments: Namespace, found: _Found) -> dict[str, Any]:
    """Make the album of ``--link`` from the last ranking, the adapted one if there is one."""
    hits = list(found.rankings.values())[-1].hits[: arguments.top]
    report = make_album(arguments.link, [(arguments.gallery or Path()) / str(found.paths[hit.key]) for hit in hits])
    counts = {"made": report.made, "kept": report.kept, "removed": report.removed}
    return {"folder": str(arguments.link), **counts, "failed": reported(report.failed)}


def load_names(file: Path | None, backbone: Backbone, library: LibraryPhotos | None = None) -> TaughtNames:
    """The names of ``--names``: of a file, or of the folder that `teach` wrote it to. ``library``: what is searched."""
    if file is None:
        return TaughtNames(backbone)
    file = file / NAMES_FILE if file.is_dir() else file
    try:
        return replace(read_names(file, backbone), background=None if library is None else library.background)
    except OSError as error:
        raise DataError("CORE_NAMES_UNREADABLE", file=file, error=error.strerror) from None


def is_photo(part: str) -> bool:
    """Whether a part of a query is the path of a photo. Raises PhotoError: when it is such a path, and there is no file."""
    path = Path(part)
    if path.suffix.lower() not in PHOTO_SUFFIXES:
        return False
    if is_there(path):
        return True
    if "/" in part or os.sep in part or len(part.split()) == 1:
        raise PhotoError("CORE_PHOTO_GONE", path=part)
    return False  # a sentence that ends with the name of a file


def _photos(folder: Path) -> list[Path]:
    check_folder(folder)
    paths = sorted(photos_in(folder))
    if not paths:
        raise DataError("CORE_GALLERY_FOLDER", folder=folder, suffixes=", ".join(sorted(PHOTO_SUFFIXES)))
    return paths
