"""The commands of a library on disk: index, library, vector."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import TYPE_CHECKING

from core.cli import format
from core.cli.commands import Answer, chosen_backbone, log
from core.common.errors import LibraryError

if TYPE_CHECKING:
    from core.retrieval.indexing import Progress

LOCAL, RAY = "local", "ray"
EVERY = 2.0  # seconds between two lines of progress


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
    report = index_folders(library, arguments.folders, backbone, _Lines(), arguments.forget_missing, engine=engine)
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
        "problems": problems(found, lambda done, total: log(f"{done}/{total} photos")) if arguments.verify else None,
    }
    return Answer(data, format.library(data))


def vector(arguments: Namespace) -> Answer:
    """``vector``: what to ask a database of zero-shot vectors with, so that it answers as an adapter would."""
    from core.common.text import clean_text
    from core.retrieval.query_map import QueryMap

    text = clean_text(arguments.query, "query")
    backbone = chosen_backbone(arguments)
    made = QueryMap.identity(backbone.dim)
    if arguments.map is not None:
        made = QueryMap.load(arguments.map, backbone.fingerprint, backbone.dim)
    query = backbone.encode_text([text])[0]
    data = {
        "query": text,
        "map": None if arguments.map is None else str(arguments.map),
        "backbone": backbone.name,
        "fingerprint": backbone.fingerprint,
        "dim": backbone.dim,
        "vector": [round(value, 8) for value in made.query(query).tolist()],
        "offset": made.offset(query),
    }
    return Answer(data, "[" + ",".join(f"{value:.8g}" for value in data["vector"]) + "]")


class _Lines:
    """Progress as lines, one every few seconds."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        last_one = progress.done == progress.total and progress.step == "encoding"
        if now - self._last < EVERY and not last_one:
            return
        self._last = now
        if progress.step == "looking":
            log(f"{progress.done:,} photos found so far")
        elif progress.step == "writing":
            log("tidying up")
        else:
            left = "" if progress.seconds_left is None else f", about {_duration(progress.seconds_left)} left"
            log(f"{progress.done:,}/{progress.total:,} files{left if not last_one else ''}")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5_400 else f"{seconds / 3600:.1f} hours"
