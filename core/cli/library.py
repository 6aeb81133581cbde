"""The commands of a library on disk: index, library, vector."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import TYPE_CHECKING

from core.cli import format
from core.cli.commands import Answer, check_map_of, chosen_backbone, log
from core.common.errors import LibraryError, UsageError
from core.common.progress import Bar, counter

if TYPE_CHECKING:
    from core.retrieval.indexing import Progress

LOCAL, RAY = "local", "ray"


def index(arguments: Namespace) -> Answer:
    """``index``: bring a library up to date with folders of photos."""
    from core.retrieval.indexing import index_folders
    from core.retrieval.library import PhotoLibrary

    started = time.perf_counter()
    if not arguments.folders and not arguments.library.exists():
        raise LibraryError(f"There is no library {arguments.library} yet: name the folders to index.")
    for folder in arguments.folders:
        if not folder.is_dir() and not arguments.library.exists():
            raise LibraryError(f"The folder {folder} does not exist.")
    if arguments.address is not None and arguments.engine != RAY:
        raise LibraryError("--address is where a Ray cluster is: it needs --engine ray.")
    backbone = chosen_backbone(arguments)
    library = PhotoLibrary.create(arguments.library, backbone)
    engine = None
    if arguments.engine == RAY:
        from core.retrieval.ray_engine import ray_engine

        engine = ray_engine(backbone, arguments.address)
    load = time.perf_counter() - started
    report = index_folders(library, arguments.folders, backbone, _Shown(), arguments.forget_missing, engine=engine)
    for line in report.missing:
        log(line)
    data = {
        "library": str(arguments.library),
        "photos": report.photos,
        "added": report.added,
        "changed": report.changed,
        "moved": report.moved,
        "removed": report.removed,
        "duplicates": report.duplicates,
        "failed": [{"name": name, "reason": reason} for name, reason in report.failed],
        "seconds": {step: round(taken, 3) for step, taken in {"load": load, **report.seconds}.items()},
    }
    return Answer(data, format.indexed(data))


def library(arguments: Namespace) -> Answer:
    """``library``: what a library holds, and whether it is as it should be."""
    from core.retrieval.library import PhotoLibrary
    from core.retrieval.library_check import count, problems

    found = PhotoLibrary.open(arguments.library)
    counts = count(found)
    data = {
        "library": str(arguments.library),
        "layout": found.about.layout,
        "backbone": found.about.backbone["spec"],
        "fingerprint": found.about.fingerprint,
        "folders": list(found.about.folders),
        **counts,
        "problems": problems(found, counter("checking", log)) if arguments.verify else None,
    }
    return Answer(data, format.library(data))


def vector(arguments: Namespace) -> Answer:
    """``vector``: what to ask a database of zero-shot vectors with, so that it answers as an adapter would."""
    from core.backbones.peft_format import load_peft
    from core.common.text import clean_text
    from core.retrieval.query_map import QueryMap
    from core.retrieval.two_stage import finite

    text = clean_text(arguments.query, "query")
    if arguments.adapter is not None and arguments.map is not None:
        raise UsageError("--adapter DIR or --map FILE: both together would adapt the question twice.")
    backbone = chosen_backbone(arguments)
    if arguments.adapter is not None and backbone.layout.moves_photos:
        raise UsageError(
            f"Adapters of {backbone.name} change photos, not the question: make a map of one with "
            "`adapt TEXT --library DIR --map FILE`, and use `vector TEXT --map FILE`."
        )
    if arguments.map is not None:
        check_map_of(backbone)
    lora, made = None, QueryMap.identity(backbone.dim)
    if arguments.adapter is not None:
        lora, _ = load_peft(arguments.adapter, backbone.layout.modules, backbone.fingerprint)
    if arguments.map is not None:
        made = QueryMap.load(arguments.map, backbone.fingerprint, backbone.dim)
    query = finite(backbone.encode_text([text], lora))[0]
    data = {
        "query": text,
        "adapter": None if arguments.adapter is None else str(arguments.adapter),
        "map": None if arguments.map is None else str(arguments.map),
        "backbone": backbone.name,
        "fingerprint": backbone.fingerprint,
        "dim": backbone.dim,
        "vector": [round(value, 8) for value in made.query(query).tolist()],
        "offset": made.offset(query),
    }
    return Answer(data, "[" + ",".join(f"{value:.8g}" for value in data["vector"]) + "]")


class _Shown:
    """A bar for each step of indexing."""

    def __init__(self) -> None:
        self._step, self._last = "", time.monotonic()
        self._bar: Bar | None = None

    def __call__(self, progress: Progress) -> None:
        if progress.step != self._step:
            if self._bar is not None:
                self._bar.close()
            unit = "photos" if progress.step == "looking" else "files"
            self._step, self._bar = progress.step, Bar(progress.step, progress.total or None, log, unit, 0, self._last)
        self._last = time.monotonic()
        if self._bar is None:
            return
        self._bar.to(progress.done)
        if progress.step == "encoding" and progress.done == progress.total:
            self._bar.close()
