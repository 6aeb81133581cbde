"""The command ``search``: the best photos or captions of a folder or a library, zero-shot and adapted."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from core.backbones.base import Backbone
from core.backbones.lora import Lora
from core.cli import format
from core.cli.commands import Answer, adapted, chosen_backbone, load_adapter, log, request, sampling_given
from core.common.errors import DataError, DescriptionError, GalleryError, PhotoError, UsageError
from core.common.messages import Message, message
from core.common.progress import Steps
from core.common.stopwatch import Stopwatch
from core.data import check_folder, read_folder
from core.data.captions import clean_captions
from core.data.find_images import SUFFIXES as PHOTO_SUFFIXES
from core.data.find_images import is_there, photos_in
from core.data.image_io import open_photo
from core.data.sample import caption_texts
from core.names.file import NAMES_FILE, read_names
from core.names.teach import TaughtNames
from core.retrieval.adapter import ZERO_SHOT, Adapter, finite
from core.retrieval.columns import text_rows
from core.retrieval.gallery import Gallery
from core.retrieval.library import PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.popularity import popularity, spread_rows
from core.retrieval.questions import Query
from core.retrieval.search import Photos, zero_shot_ranks
from core.retrieval.search import search as best_photos
from core.retrieval.where import NONE_LEFT, Where
from core.sglora.request import AdapterRequest

MOST_LISTED = 10  # folders in an error message

Best = list[tuple[int, float]]  # rows and scores, best first
Labels = Callable[[Sequence[int]], Sequence[object]]  # names of the photos, or texts of the captions, at some rows


@dataclass(frozen=True)
class _Results:
    rankings: Mapping[str, Best]  # by adapter's name
    before: Mapping[int, int]  # zero-shot ranks by row, if known
    labels: Labels
    facts: Mapping[str, Any]  # about the searched photos, for the answer


@dataclass(frozen=True)
class _Search:
    options: Namespace
    query: Query
    where: Where
    backbone: Backbone
    adapters: Mapping[str, Adapter]  # by name
    names: TaughtNames
    stopwatch: Stopwatch

    def in_folder(self, paths: Sequence[Path]) -> _Results:
        gallery = Gallery(self.backbone, limit=len(paths))
        report = gallery.add(paths, partial(Steps(log), "reading"))
        for failure in report.failed:
            log(f"left out: {failure.name}: {failure.reason}")
        if not gallery.photos:
            raise DataError("CORE_NONE_READABLE_IN", n=len(paths), folder=self.options.gallery)
        # The gallery changes names to be safe and unique on the page. Here the user needs the path.
        first = {key: paths[row] for row, key in sorted(report.ids.items(), reverse=True)}  # of equal files
        names = [first[photo.id].relative_to(self.options.gallery).as_posix() for photo in gallery.photos]
        self.stopwatch.lap("index")
        results = self.in_photos(gallery.searchable, gallery.among, lambda rows: [names[i] for i in rows])
        failed = [{"name": failure.name, "reason": str(failure.reason)} for failure in report.failed]
        return replace(results, facts={**results.facts, "failed": failed, "duplicates": list(report.duplicates)})

    def in_photos(self, photos: Photos, within: Callable[[Where], np.ndarray | None], labels: Labels) -> _Results:
        among = within(self.where)
        if among is not None and not len(among):
            raise GalleryError(self._why_none_left(photos))
        question, top = self.query.question(photos.backbone), self.options.top
        named = question.with_names([name for text in self.query.texts for name in self.names.within_sentence(text)])
        rankings = {
            name: best_photos(photos, named if adapter.named else question, adapter, top, among)
            for name, adapter in self.adapters.items()
        }
        index = photos.index_for(ZERO_SHOT)
        facts = {
            "photos": len(index),
            "total": len(index if among is None else among),
            "failed": [],
            "duplicates": [],
        }
        return _Results(rankings, zero_shot_ranks(photos, question, among), labels, facts)

    def _why_none_left(self, photos: Photos) -> Message:
        folder = self.where.folder
        if folder is not None and isinstance(photos, LibraryPhotos):
            inside = photos.among(Where(folder))
            if inside is not None and not len(inside):
                known = ", ".join(map(str, list(photos.folders.values())[:MOST_LISTED]))
                return message("CORE_LIBRARY_FOLDER", folder=folder, known=known)
        return message(NONE_LEFT)

    def captions(self, library: LibraryPhotos | None) -> _Results:
        """The captions that fit best. Only the question's photos are encoded."""
        backbone = self.backbone
        if library is not None:
            prefixes = library.caption_prefixes(partial(Steps(log), "reading", unit="captions"))
            texts, photos = library.captions, len(library)
        else:
            samples = read_folder(self.options.gallery)
            texts = tuple(dict.fromkeys(text for sample in samples for text in clean_captions(caption_texts(sample))))
            if not texts:
                raise DataError("CORE_NO_CAPTIONS_IN", folder=self.options.gallery)
            prefixes, photos = backbone.text_prefix(texts), len({sample.path for sample in samples})
        self.stopwatch.lap("index")
        question = self.query.question(backbone)

        def cosines(lora: Lora | None) -> Tensor:
            return finite(backbone.text_suffix(prefixes, lora)) @ question.embedding(backbone, lora)

        rankings: dict[str, Best] = {}
        before: dict[int, int] = {}
        for name, adapter in self.adapters.items():
            scores = cosines(adapter.lora) * adapter.weight
            if adapter.weight < 1:
                scores += cosines(adapter.base) * (1 - adapter.weight)
            if library is not None:
                some_photos = library.index_for(adapter).take(spread_rows(len(library)))
                scores = scores - popularity(some_photos, text_rows(backbone, prefixes, adapter))
            order = scores.sort(descending=True, stable=True).indices
            before = before or {row: rank for rank, row in enumerate(order.tolist(), 1)}
            order = order[: self.options.top]
            rankings[name] = list(zip(order.tolist(), scores[order].tolist(), strict=True))
        facts = {"photos": photos, "total": len(texts), "failed": [], "duplicates": []}
        return _Results(rankings, before, lambda rows: [texts[row] for row in rows], facts)


def search(arguments: Namespace) -> Answer:
    given = sampling_given(arguments)
    if arguments.adapter is not None and given:
        raise UsageError("CORE_WITH_ADAPTER", option=given[0])
    where = _where(arguments)
    words = [part for part in arguments.query if not is_photo(part)]
    files = [Path(part) for part in arguments.query if is_photo(part)]
    kind = (arguments.find or ("photos" if words else "captions")).removesuffix("s")
    if kind == "caption" and where:
        raise UsageError("CORE_FILTERED_CAPTIONS")
    query = Query.parse(words, [open_photo(path) for path in files], arguments.without)
    task = arguments.task
    if task is None and arguments.adapter is None and query.texts:
        task = ", ".join(query.texts)
    if kind == "caption" and task is None and arguments.adapter is None:
        raise DescriptionError("CORE_PHOTO_NEEDS_TASK")
    # Check the input before loading models, which takes seconds.
    wanted = None if task is None else request(arguments, task)
    library = None if arguments.library is None else PhotoLibrary.open(arguments.library)
    gallery = _photos(arguments.gallery) if library is None and kind == "photo" else []

    stopwatch = Stopwatch()
    backbone, adapters = _adapters(arguments, wanted, stopwatch)
    names = TaughtNames(backbone) if arguments.names is None else _names(arguments.names, backbone)
    if names.entries:
        adapters = {name: a if a == ZERO_SHOT else a.with_names(names.on) for name, a in adapters.items()}
    opened = None if library is None else LibraryPhotos(library, backbone)
    stopwatch.lap("load")
    finder = _Search(arguments, query, where, backbone, adapters, names, stopwatch)
    if kind == "caption":
        results = finder.captions(opened)
    elif opened is None:
        results = finder.in_folder(gallery)
    else:
        results = finder.in_photos(opened, opened.among, opened.paths)
    rankings = {}
    for name, best in results.rankings.items():
        rankings[name] = rows = []
        labels = results.labels([row for row, _ in best])
        for rank, ((row, score), label) in enumerate(zip(best, labels, strict=True), 1):
            before = results.before.get(row)
            moved = None if before is None else before - rank
            rows.append({"rank": rank, kind: str(label), "score": round(score, 6), "moved": moved})
    stopwatch.lap("search")
    data = {
        "query": " + ".join([*query.texts, *map(str, files), *(f"-{text}" for text in query.without)]),
        "task": task,
        **results.facts,
        "rankings": rankings,
        "seconds": {step: round(taken, 3) for step, taken in stopwatch.laps.items()},
    }
    return Answer(data, lambda data: format.rankings(data, kind))


def _where(arguments: Namespace) -> Where:
    """The filter of ``--folder``, ``--since`` and ``--until``. Raises UsageError: when they cannot be combined."""
    if arguments.library is None and arguments.folder is not None:
        raise UsageError("CORE_FOLDER_OF_LIBRARY")
    try:
        return Where(arguments.folder, arguments.since, arguments.until)
    except DescriptionError as error:
        raise UsageError(error.message) from None


def _adapters(arguments: Namespace, wanted: AdapterRequest | None, stopwatch: Stopwatch) -> tuple[Backbone, dict[str, Adapter]]:
    """The backbone, and adapters by name: zero-shot, and the adapter of the task or of ``--adapter``."""
    if wanted is not None:
        engine, adaptation = adapted(arguments, wanted, stopwatch)
        return engine.backbone, {"zero-shot": ZERO_SHOT, "sg-lora": Adapter.of(adaptation.lora, adaptation.weight)}
    backbone, adapters = chosen_backbone(arguments), {"zero-shot": ZERO_SHOT}
    if arguments.adapter is not None:
        adapters["adapter"] = load_adapter(backbone, arguments.adapter)
    backbone.encode_sentence(["warm-up"])
    return backbone, adapters


def _names(file: Path, backbone: Backbone) -> TaughtNames:
    file = file / NAMES_FILE if file.is_dir() else file
    try:
        return read_names(file, backbone)
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
