"""The commands that use what was trained: route, adapt, search, evaluate."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli import format
from core.common.errors import BackboneError, DataError, DescriptionError, PhotoError
from core.data.find_images import SUFFIXES as PHOTO_SUFFIXES

if TYPE_CHECKING:
    from core.backbones.base import Backbone
    from core.retrieval.gallery import Adapter, Ranking
    from core.sglora.engine import SGLora
    from core.sglora.router import Routing

MAX_PATH = 4096


@dataclass(frozen=True)
class Answer:
    """What a command found: ``data`` for ``--json``, ``text`` for people."""

    data: dict[str, Any]
    text: str


def log(message: str) -> None:
    """Progress, on stderr."""
    print(message, file=sys.stderr, flush=True)


def route(arguments: Namespace) -> Answer:
    """``route``: the experts of a description."""
    _check_text(arguments.text)
    engine = _engine(arguments)
    data = _routed(engine, engine.route(arguments.text, arguments.k, arguments.tau))
    return Answer(data, format.routing(data))


def adapt(arguments: Namespace) -> Answer:
    """``adapt``: a description's LoRA, written in PEFT format."""
    from core.backbones.peft_format import CONFIG_FILE, WEIGHTS_FILE

    _check_text(arguments.text)
    started = time.perf_counter()
    engine = _engine(arguments)
    engine.backbone.encode_sentence(["warm-up"])  # loads the text tower, so that "encode" below tells what encoding takes
    load = time.perf_counter() - started
    adaptation = engine.adapt(arguments.text, arguments.k, arguments.tau, arguments.seed, arguments.strength)
    started = time.perf_counter()
    engine.save(adaptation, arguments.out, arguments.format == "transformers")
    seconds = {"load": load, **adaptation.seconds, "write": time.perf_counter() - started}
    data = {
        **_routed(engine, adaptation.routing),
        "seed": adaptation.seed,
        "strength": adaptation.strength,
        "parameters": adaptation.lora.parameters,
        "seconds": {step: round(value, 6) for step, value in seconds.items()},
        "out": str(arguments.out),
        "files": [CONFIG_FILE, WEIGHTS_FILE],
    }
    return Answer(data, format.adaptation(data))


def search(arguments: Namespace) -> Answer:
    """``search``: zero-shot's and the adapter's ranking, of a folder's photos or, for a photo, of their captions."""
    from core.common.text import clean_text
    from core.data.decode import content_id
    from core.data.image_io import open_photo, photo_bytes
    from core.retrieval.gallery import ZERO_SHOT, Adapter, Gallery, moves

    paths = _photos(arguments.gallery)
    photo = Path(arguments.query)
    by_photo = photo.suffix.lower() in PHOTO_SUFFIXES and len(arguments.query) < MAX_PATH and photo.is_file()
    if by_photo and arguments.task is None:
        raise DescriptionError("Searching with a photo needs --task: a sentence that says what the gallery's photos show.")
    query = str(photo) if by_photo else clean_text(arguments.query, "query")
    image = open_photo(photo) if by_photo else None
    captions = _captions(arguments.gallery) if by_photo else {}
    task = query if arguments.task is None else arguments.task
    _check_text(task)
    engine = _engine(arguments)
    adaptation = engine.adapt(task, arguments.k, arguments.tau, arguments.seed, arguments.strength)

    gallery = Gallery(engine.backbone, limit=len(paths))
    started = time.perf_counter()
    report = gallery.add(paths, captions, lambda done, total: log(f"{done}/{total} photos"))
    seconds = {"index": time.perf_counter() - started}
    for failure in report.failed:
        log(f"left out: {failure.name}: {failure.reason}")
    # Names are made safe and unique for a page; here the path is what a user can go on with.
    kept = {p.id for p in gallery.photos}
    names: dict[str, str] = {}
    for path in paths if image is None else ():
        with suppress(PhotoError):
            key = content_id(photo_bytes(path))
            if key in kept:
                names.setdefault(key, path.relative_to(arguments.gallery).as_posix())

    def rank(adapter: Adapter) -> Ranking:
        if image is not None:
            return gallery.image_to_text(image, adapter, None)
        return gallery.text_to_image(query, adapter, None)

    before = rank(ZERO_SHOT)
    started = time.perf_counter()
    after = rank(Adapter.of(adaptation.lora))
    seconds["adapt"] = time.perf_counter() - started
    moved = moves(before, after)
    kind = "photo" if image is None else "caption"

    def rows(ranking: Ranking) -> list[dict[str, Any]]:
        return [
            {"rank": hit.rank, kind: names.get(hit.key, hit.label), "score": round(hit.score, 6), "moved": moved[hit.key]}
            for hit in ranking.hits[: arguments.top]
        ]

    data = {
        "query": query,
        "task": adaptation.routing.description,
        "photos": len(gallery.photos),
        "total": before.total,
        "rankings": {"zero-shot": rows(before), "sg-lora": rows(after)},
        "failed": [{"name": failure.name, "reason": failure.reason} for failure in report.failed],
        "duplicates": list(report.duplicates),
        "seconds": {step: round(taken, 3) for step, taken in seconds.items()},
    }
    return Answer(data, format.rankings(data, kind))


def evaluate(arguments: Namespace) -> Answer:
    """``evaluate``: recall of each method on a folder of captioned photos."""
    from core.data import read_folder
    from core.experiments.evaluate import AdaptSettings
    from core.experiments.evaluate import evaluate as measure

    _check_text(arguments.task)
    samples = read_folder(arguments.data)
    if arguments.split is not None:
        samples = [s for s in samples if s.split == arguments.split]
        if not samples:
            raise DataError(f"No photo of {arguments.data} is in the split {arguments.split!r}.")
    engine = _engine(arguments)
    settings = AdaptSettings(arguments.k, arguments.tau, arguments.seed, arguments.strength)
    evaluation = measure(engine, samples, arguments.task, arguments.methods, settings, log)
    methods = {
        name: {way: {k: round(v, 4) for k, v in values.items()} for way, values in ways.items()}
        for name, ways in evaluation.methods.items()
    }
    data = {"images": evaluation.images, "captions": evaluation.captions, "methods": methods}
    return Answer(data, format.recalls(data))


def _check_text(description: str) -> None:
    """Before seconds of loading models: what the engine would refuse anyway."""
    from core.common.text import clean_text

    clean_text(description)


def _engine(arguments: Namespace) -> SGLora:
    from core.sglora.load import load_engine

    return load_engine(chosen_backbone(arguments), arguments.experts, arguments.generator)


def chosen_backbone(arguments: Namespace) -> Backbone:
    """The backbone of ``--backbone``, ``--heads`` and ``--pretrained``."""
    from core.backbones import EMBEDDED, load_backbone

    if arguments.heads is None:
        return load_backbone(arguments.backbone, arguments.pretrained, arguments.adapt_blocks)
    if arguments.backbone != EMBEDDED:
        raise BackboneError(f"--heads is for the embedded backbone; {arguments.backbone} takes --pretrained.")
    from core.backbones.embedded import load_embedded
    from core.common.device import current

    return load_embedded(arguments.heads).to(current())


def _routed(engine: SGLora, routing: Routing) -> dict[str, Any]:
    return {
        "description": routing.description,
        "backbone": engine.backbone.name,
        "k": len(routing.chosen),
        "tau": routing.tau,
        "experts": engine.routed(routing),
        "confidence": asdict(confidence) if (confidence := engine.confidence(routing)) else None,
    }


def _captions(folder: Path) -> dict[str, tuple[str, ...]]:
    """Captions of the gallery's photos by file name."""
    from core.data import read_folder
    from core.data.sample import caption_texts

    captions: dict[str, tuple[str, ...]] = {}
    for sample in read_folder(folder):
        captions[sample.path.name] = captions.get(sample.path.name, ()) + caption_texts(sample)
    return captions


def _photos(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"The gallery folder {folder} does not exist.")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file())
    if not paths:
        raise DataError(f"The gallery folder {folder} holds no photo ({', '.join(sorted(PHOTO_SUFFIXES))}).")
    return paths
