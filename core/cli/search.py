"""The command ``search``: the best photos or captions of a folder or a library, zero-shot and adapted."""

import os
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from core.backbones.base import Backbone
from core.cli import format
from core.cli.commands import Answer, chosen_adapter, log, reported, task_request
from core.common.errors import DataError, PhotoError, UsageError
from core.common.progress import Steps
from core.data import check_folder, read_folder
from core.data.album import make_album
from core.data.find_images import SUFFIXES as PHOTO_SUFFIXES
from core.data.find_images import is_there, photos_in
from core.data.folder import is_captioned
from core.data.image_io import open_photo
from core.data.sample import Sample, caption_texts
from core.names.file import NAMES_FILE, read_names
from core.names.teach import TaughtNames
from core.retrieval.adapter import ZERO_SHOT
from core.retrieval.columns import photo_rows, text_rows
from core.retrieval.gallery import Gallery, GalleryPhotos, rank_captions
from core.retrieval.index import Ranking
from core.retrieval.library import PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.photo_set import Where, background
from core.retrieval.questions import Query
from core.retrieval.search import WORDS, Search


def search(arguments: Namespace) -> Answer:
    if arguments.library is None and arguments.folder is not None:
        raise UsageError("--folder is for a library (--library DIR): with --gallery, name the folder itself.")
    where = Where(arguments.folder and arguments.folder.absolute(), arguments.since, arguments.until)
    words = [part for part in arguments.query if not is_photo(part)]
    pictures = [Path(part) for part in arguments.query if is_photo(part)]
    kind = (arguments.find or ("photos" if words else "captions")).removesuffix("s")
    if kind == "caption" and (words or where or arguments.link is not None):
        raise UsageError("Captions are found for photos alone: leave out words, --folder, --since, --until and --link.")
    query = Query.parse(words, [open_photo(path) for path in pictures])
    # Check the input before loading models, which takes seconds.
    wanted = task_request(arguments)
    library = None if arguments.library is None else PhotoLibrary.open(arguments.library)
    samples, texts = list[Sample](), tuple[str, ...]()
    if kind == "caption":
        folders = [arguments.gallery] if library is None else filter(is_captioned, map(Path, library.about.folders))
        samples = [sample for folder in folders for sample in read_folder(folder)]
        texts = tuple(dict.fromkeys(text for sample in samples for text in caption_texts(sample)))
        if not texts:
            raise DataError(f"No photo of {arguments.gallery or arguments.library} has captions: say --find photos.")
    elif library is None:
        photo_files(arguments.gallery)

    backbone, name, adapter = chosen_adapter(arguments, wanted)
    opened = None if library is None else LibraryPhotos(library, backbone)
    names, own = load_names(arguments.names, backbone), None
    paths, failed = dict[str, Path](), list[dict[str, str]]()
    if library is None and not texts:
        own, rows_of_paths, failed = read_gallery(arguments.gallery, backbone)
        # The gallery changes names to be safe and unique on the page. Here the user needs the path: of equal files, the first.
        paths = {own.key(row): path for row, path in reversed(rows_of_paths)}
    elif opened is not None and where.folder is not None:
        opened.check_folder(where.folder)
    names = names.among(background([own, opened]))
    if names.entries:
        name, adapter = "names" if adapter == ZERO_SHOT else name, adapter.with_names(names)
    adapters = {"zero-shot": ZERO_SHOT, name: adapter}
    asked = Search(WORDS, "", own, None if texts else opened, names, where, query=query, paths=paths)
    if texts:
        seen, read = backbone.prefix(torch.stack(list(map(backbone.pixels, query.photos)))), backbone.text_prefix(texts)
        rankings = dict[str, Ranking]()
        for name, adapter in adapters.items():
            rows = text_rows(backbone, read, adapter, texts)
            popular = 0 if opened is None else opened.popularity(rows, adapter)
            rankings[name] = rank_captions(texts, rows @ photo_rows(backbone, seen, adapter).mean(0) - popular)
    else:  # ranks are compared, so all photos of a gallery need one
        rankings = {name: asked.rank(adapter, max(arguments.top, len(asked.photos))) for name, adapter in adapters.items()}
    shown: dict[str, list[dict[str, Any]]] = {}
    for name, ranking in rankings.items():
        moved = asked.moves(rankings["zero-shot"], ranking)
        shown[name] = [
            {"rank": h.rank, kind: str(paths.get(h.key, h.label)), "score": round(h.score, 6), "moved": moved.get(h.key)}
            for h in ranking.hits[: arguments.top]
        ]
    album = None
    if arguments.link is not None:  # of the last ranking, the adapted one if there is one
        found = [(arguments.gallery or Path()) / hit["photo"] for hit in list(shown.values())[-1]]
        album = {"folder": str(arguments.link), "failed": reported(make_album(arguments.link, found))}
    data = {
        "query": " + ".join([*query.texts, *map(str, pictures), *(f"-{text}" for text in query.without)]),
        "task": arguments.task,
        "photos": len(opened or asked.photos or {sample.path for sample in samples}),
        "total": rankings["zero-shot"].total,
        "failed": failed,
        "album": album,
        "rankings": shown,
    }
    return Answer(data, lambda data: format.rankings(data, kind))


def photo_files(folder: Path) -> list[Path]:
    """The photo files of a folder and of those below it, sorted. Raises DataError: when there is no folder, or no photo."""
    check_folder(folder)
    if not (files := sorted(photos_in(folder))):
        raise DataError(f"The folder {folder} holds no photo ({', '.join(sorted(PHOTO_SUFFIXES))}).")
    return files


def read_gallery(folder: Path, backbone: Backbone) -> tuple[GalleryPhotos, list[tuple[int, Path]], list[dict[str, str]]]:
    """The photos of a folder; (row, path inside the folder) of each readable file; and what cannot be read. Raises DataError:
    as ``photo_files``, or when no photo can be read."""
    files = photo_files(folder)
    gallery = Gallery(backbone, limit=len(files))
    report = gallery.add(files, partial(Steps(log), "reading"))
    failed = reported(report.failed)
    if not gallery.photos:
        raise DataError(f"None of the {len(files)} photos in {folder} can be read.")
    rows = {key: row for row, key in enumerate(gallery.contents.entries)}
    places = [(rows[key], files[place].relative_to(folder)) for place, key in sorted(report.ids.items())]
    return gallery.contents, places, failed


def load_names(file: Path | None, backbone: Backbone) -> TaughtNames:
    """The names of ``--names``: of a file, or of the folder that `teach` wrote it to."""
    if file is None:
        return TaughtNames(backbone)
    file = file / NAMES_FILE if file.is_dir() else file
    try:
        return read_names(file, backbone)
    except OSError as error:
        raise DataError(f"The file of names {file} cannot be read ({error.strerror}).") from None


def is_photo(part: str) -> bool:
    """Whether a part of a query is the path of a photo. Raises PhotoError: when it is such a path, and there is no file."""
    path = Path(part)
    if path.suffix.lower() not in PHOTO_SUFFIXES:
        return False
    if is_there(path):
        return True
    if "/" in part or os.sep in part or len(part.split()) == 1:
        raise PhotoError(f"{part} is not there: give the path of a photo, or words.")
    return False  # a sentence that ends with the name of a file
