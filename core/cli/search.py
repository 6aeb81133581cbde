"""``search``: the best photos or captions of a folder or a library, zero-shot and adapted."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli import format
from core.cli.commands import Answer, chosen_backbone, load_adapter, load_chosen_engine, log, request
from core.common.errors import DataError, DescriptionError, GalleryError
from core.common.progress import counter
from core.common.stopwatch import Stopwatch
from core.common.text import clean_text
from core.data.find_images import SUFFIXES as PHOTO_SUFFIXES

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from core.backbones.base import Backbone
    from core.backbones.lora import Lora
    from core.retrieval.adapter import Adapter
    from core.retrieval.library_photos import LibraryPhotos
    from core.retrieval.questions import EncodedQuery, Query
    from core.retrieval.search import Photos

MAX_PATH = 4096
PHOTOS, CAPTIONS = "photos", "captions"


@dataclass(frozen=True)
class _Source:
    """Photos that can be searched.

    Attributes:
        photos: the photos. named: what those at some places are called. among: the places that may be answers; None: all.
        failed, duplicates: of a folder's files.
    """

    photos: Photos
    named: Callable[[Sequence[int]], list[str]]
    among: np.ndarray | None = None
    failed: Sequence[dict[str, str]] = ()
    duplicates: Sequence[str] = ()


def search(arguments: Namespace) -> Answer:
    """``search``: each ranking's best photos, or, for a photo, captions."""
    from core.data.image_io import open_photo
    from core.retrieval.questions import Query

    words = [part for part in arguments.query if not is_photo(part)]
    photos = [Path(part) for part in arguments.query if is_photo(part)]
    asked = Query.parse(words, [open_photo(path) for path in photos], arguments.without)
    wanted = arguments.find or (PHOTOS if words else CAPTIONS)
    task = arguments.task
    if task is None and arguments.adapter is None and asked.texts:
        task = ", ".join(asked.texts)
    if wanted == CAPTIONS and task is None and arguments.adapter is None:
        raise DescriptionError(
            "Searching with a photo needs --task: a sentence that says what the gallery's photos show (or --adapter)."
        )
    if task is not None:
        clean_text(task)  # before seconds of loading models
    if arguments.library is None and arguments.folder:
        raise DataError("--folder is for a library (--library DIR): with --gallery, name the folder itself.")
    if arguments.library is not None:
        from core.retrieval.library import PhotoLibrary

        PhotoLibrary.open(arguments.library)  # before seconds of loading models
    paths = _photos(arguments.gallery) if arguments.gallery is not None and wanted == PHOTOS else []

    stopwatch = Stopwatch()
    backbone, adapters = _adapters(arguments, task, stopwatch)
    query = " + ".join([*asked.texts, *map(str, photos), *(f"-{text}" for text in asked.without)])
    data: dict[str, Any] = {"query": query, "task": task}
    if wanted == CAPTIONS:
        data |= _captions(arguments, backbone, asked, adapters, stopwatch)
    else:
        source = _source(arguments, backbone, paths, stopwatch)
        data |= _ranked(arguments, source, asked, adapters, stopwatch)
    data["seconds"] = {step: round(taken, 3) for step, taken in stopwatch.laps.items()}
    return Answer(data, format.rankings(data, wanted.removesuffix("s")))


def _adapters(arguments: Namespace, task: str | None, stopwatch: Stopwatch) -> tuple[Backbone, dict[str, Adapter]]:
    """The backbone, and what is ranked with, by name: zero-shot, and the adapter of the task or of a folder."""
    from core.retrieval.adapter import ZERO_SHOT, Adapter

    if task is not None and arguments.adapter is None:
        engine = load_chosen_engine(arguments)
        engine.backbone.encode_sentence(["warm-up"])  # loads the text tower
        stopwatch.lap("load")
        adaptation = engine.adapt(request(arguments, task))
        stopwatch.lap("adapt")
        return engine.backbone, {"zero-shot": ZERO_SHOT, "sg-lora": Adapter.of(adaptation.lora, adaptation.weight)}
    backbone, adapters = chosen_backbone(arguments), {"zero-shot": ZERO_SHOT}
    if arguments.adapter is not None:
        adapters["adapter"] = load_adapter(backbone, arguments.adapter)
    backbone.encode_sentence(["warm-up"])
    stopwatch.lap("load")
    return backbone, adapters


def _source(arguments: Namespace, backbone: Backbone, paths: Sequence[Path], stopwatch: Stopwatch) -> _Source:
    from core.retrieval.where import Where

    if arguments.library is not None:
        from core.retrieval.library import PhotoLibrary
        from core.retrieval.library_photos import LibraryPhotos

        photos = LibraryPhotos(PhotoLibrary.open(arguments.library, backbone), backbone)
        among = _some(photos.among(Where(arguments.folder, arguments.since, arguments.until)))
        stopwatch.lap("load")
        return _Source(photos, lambda places: [str(path) for path in photos.paths(places)], among)
    from core.retrieval.gallery import Gallery

    gallery = Gallery(backbone, limit=len(paths))
    report = gallery.add(paths, {}, counter("reading", log))
    for failure in report.failed:
        log(f"left out: {failure.name}: {failure.reason}")
    if not gallery.photos:
        raise DataError(f"None of the {len(paths)} photos in {arguments.gallery} can be read.")
    # Names are made safe and unique for a page; here the path is what a user can go on with.
    first: dict[str, str] = {}
    for position, id in sorted(report.ids.items()):
        first.setdefault(id, paths[position].relative_to(arguments.gallery).as_posix())
    names = [first[photo.id] for photo in gallery.photos]
    failed = [{"name": failure.name, "reason": failure.reason} for failure in report.failed]
    stopwatch.lap("index")
    among = _some(gallery.among(Where(None, arguments.since, arguments.until)))
    return _Source(gallery.searchable, lambda places: [names[place] for place in places], among, failed, report.duplicates)


def _some(among: np.ndarray | None) -> np.ndarray | None:
    """The places that may be answers, where there are any."""
    from core.retrieval.where import NONE_LEFT

    if among is not None and not len(among):
        raise GalleryError(NONE_LEFT)
    return among


def _ranked(
    arguments: Namespace, source: _Source, asked: Query, adapters: Mapping[str, Adapter], stopwatch: Stopwatch
) -> dict[str, Any]:
    from core.retrieval.search import search as ask
    from core.retrieval.search import zero_shot_ranks

    photos, among = source.photos, source.among
    question = asked.question(photos.backbone)
    before, rankings = zero_shot_ranks(photos, question, among), {}
    for name, adapter in adapters.items():
        best = ask(photos, question, adapter, arguments.top, among)
        places = [place for place, _ in best]
        rankings[name] = _rows("photo", source.named(places), [score for _, score in best], [before.get(p) for p in places])
    stopwatch.lap("search")
    return {
        "photos": len(photos.index),
        "total": len(photos.index if among is None else among),
        "rankings": rankings,
        "failed": list(source.failed),
        "duplicates": list(source.duplicates),
        "approximate": photos.index.approximate,
    }


def _rows(kind: str, labels: Sequence[str], scores: Sequence[float], before: Sequence[int | None]) -> list[dict[str, Any]]:
    return [
        {"rank": rank, kind: label, "score": round(score, 6), "moved": None if was is None else was - rank}
        for rank, (label, score, was) in enumerate(zip(labels, scores, before, strict=True), 1)
    ]


def _captions(
    arguments: Namespace, backbone: Backbone, asked: Query, adapters: Mapping[str, Adapter], stopwatch: Stopwatch
) -> dict[str, Any]:
    """The captions that fit best; no photo but those of the question is encoded."""
    texts, prefixes, photos, library = _caption_prefixes(arguments, backbone)
    stopwatch.lap("index")
    question = asked.question(backbone)
    rankings: dict[str, list[dict[str, Any]]] = {}
    before: dict[int, int] = {}
    for name, adapter in adapters.items():
        scores = _caption_scores(backbone, prefixes, question, adapter)
        order = (scores - _popularity(backbone, prefixes, library, adapter)).sort(descending=True, stable=True).indices
        before = before or {row: rank for rank, row in enumerate(order.tolist(), 1)}
        rows: list[int] = order[: arguments.top].tolist()
        rankings[name] = _rows("caption", [texts[row] for row in rows], scores[rows].tolist(), [before[row] for row in rows])
    stopwatch.lap("search")
    return {
        "photos": photos,
        "total": len(texts),
        "rankings": rankings,
        "failed": [],
        "duplicates": [],
        "approximate": False,
    }


def _caption_scores(backbone: Backbone, prefixes: Tensor, question: EncodedQuery, adapter: Adapter) -> Tensor:
    """[m] how well captions fit a question, from their prefixes [m, …]."""
    from core.retrieval.adapter import finite

    def cosines(lora: Lora | None) -> Tensor:
        return finite(backbone.text_suffix(prefixes, lora)) @ question.embedding(backbone, lora)

    adapted = cosines(adapter.lora) * adapter.weight
    return adapted if adapter.weight == 1 else adapted + cosines(None) * (1 - adapter.weight)


def _popularity(backbone: Backbone, prefixes: Tensor, library: LibraryPhotos | None, adapter: Adapter) -> Tensor:
    """[m] of captions among a library's photos; 0 where these are not embedded as the adapter sees them."""
    from core.retrieval.columns import text_rows
    from core.retrieval.popularity import popularity, spread_places

    if library is None or (adapter.moves_photos and backbone.shared is None):
        return prefixes.new_zeros(1)
    photos = library.index.take(spread_places(len(library)))
    return popularity(photos, text_rows(backbone, prefixes, adapter))


def _caption_prefixes(arguments: Namespace, backbone: Backbone) -> tuple[Sequence[str], Tensor, int, LibraryPhotos | None]:
    """The captions, their text prefixes [n, …], how many photos there are, and the library where they are in one."""
    if arguments.library is not None:
        from core.retrieval.library import PhotoLibrary
        from core.retrieval.library_photos import LibraryPhotos

        library = LibraryPhotos(PhotoLibrary.open(arguments.library, backbone), backbone)
        prefixes = library.caption_prefixes(counter("reading", log, "captions"))
        return library.captions, prefixes, len(library), library
    from core.data import read_folder
    from core.data.captions import clean_captions
    from core.data.sample import caption_texts

    samples = read_folder(arguments.gallery)
    texts = tuple(dict.fromkeys(text for sample in samples for text in clean_captions(caption_texts(sample))))
    if not texts:
        raise DataError(f"No photo of {arguments.gallery} has captions: look for photos instead (--find photos).")
    return texts, backbone.text_prefix(texts), len({sample.path for sample in samples}), None


def is_photo(part: str) -> bool:
    """Whether a part of a query is the path of a photo."""
    path = Path(part)
    return path.suffix.lower() in PHOTO_SUFFIXES and len(part) < MAX_PATH and path.is_file()


def _photos(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"The gallery folder {folder} does not exist.")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file())
    if not paths:
        raise DataError(f"The gallery folder {folder} holds no photo ({', '.join(sorted(PHOTO_SUFFIXES))}).")
    return paths
