"""The commands of a library on disk: index, library, vector."""

from argparse import Namespace
from dataclasses import asdict
from functools import partial
from pathlib import Path

from core.cli.commands import Answer, chosen_backbone, log, reported
from core.cli.search import is_photo
from core.common.errors import AdapterError, LibraryError, UsageError
from core.common.progress import Steps
from core.common.stopwatch import Stopwatch
from core.common.text import clean_text
from core.data import check_folder
from core.data.image_io import open_photo
from core.experts.load import load_adapter
from core.retrieval.adapter import ZERO_SHOT
from core.retrieval.columns import photo_rows
from core.retrieval.indexing import FOLDER_MISSING, index_folders
from core.retrieval.library import PhotoLibrary
from core.retrieval.questions import Query
from core.retrieval.ray_engine import ray_engine
from core.retrieval.verify import problems


def index(arguments: Namespace) -> Answer:
    stopwatch = Stopwatch()
    if not arguments.library.exists():
        if not arguments.folders:
            raise LibraryError(f"There is no library {arguments.library} yet: name the folders to index.")
        for folder in arguments.folders:
            check_folder(folder)
    if arguments.address is not None and arguments.engine != "ray":
        raise UsageError("--address is where a Ray cluster is: it needs --engine ray.")
    backbone = chosen_backbone(arguments)
    library = PhotoLibrary.create(arguments.library, backbone)
    engine = ray_engine(backbone, arguments.address) if arguments.engine == "ray" else None
    stopwatch.lap("load")
    steps, forget = Steps(log), arguments.forget_missing
    report = index_folders(
        library, arguments.folders, backbone, lambda now: steps(now.step, now.done, now.total, "files"), forget, engine=engine
    )
    facts = asdict(report)
    for folder in facts.pop("missing"):
        log(FOLDER_MISSING.format(folder=folder))
    facts["failed"] = reported(report.failed)
    facts["seconds"] = {step: round(taken, 3) for step, taken in {**stopwatch.laps, **report.seconds}.items()}
    return Answer({"library": str(arguments.library), **facts})


def library(arguments: Namespace) -> Answer:
    opened = PhotoLibrary.open(arguments.library)
    about = opened.about
    known = {"layout": about.layout, "backbone": about.backbone["spec"], "fingerprint": about.fingerprint}
    facts = {"library": str(arguments.library), **known, "folders": list(about.folders), **opened.counts()}
    return Answer(facts | ({"problems": problems(opened, partial(Steps(log), "checking"))} if arguments.verify else {}))


def vector(arguments: Namespace) -> Answer:
    """The vector to query a database of a library's vectors with, so that it answers as under an adapter.

    For a photo, this is the photo's vector in the database.
    """
    asks_with_photo = is_photo(arguments.query)  # before seconds of loading models
    backbone = chosen_backbone(arguments)
    adapter = ZERO_SHOT if arguments.adapter is None else load_adapter(backbone, arguments.adapter)
    if adapter.moves_photos and backbone.shared is None:
        raise AdapterError(f"{arguments.adapter} changes photos: use an adapter of texts, or `search --gallery FOLDER`.")
    if asks_with_photo:
        query, pixels = arguments.query, backbone.pixels(open_photo(Path(arguments.query)))
        vector = photo_rows(backbone, backbone.prefix(pixels[None]))[0].tolist()
    else:
        query = clean_text(arguments.query, "query")
        vector = Query.parse([query]).question(backbone).row(backbone, adapter).tolist()
    adapted = None if arguments.adapter is None else str(arguments.adapter)
    made = {"query": query, "adapter": adapted, "backbone": backbone.name, "fingerprint": backbone.fingerprint}
    data = {**made, "dim": len(vector), "vector": [round(value, 8) for value in vector]}
    return Answer(data, lambda data: "[" + ",".join(f"{value:.8g}" for value in data["vector"]) + "]")
