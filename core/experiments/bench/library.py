"""A library on disk: the speed of indexing, and the time of a question as the library grows."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import torch.nn.functional as F

from core.common import markdown
from core.data import data_folders, read_folder
from core.experiments.bench.context import BenchmarkContext
from core.experiments.bench.process import finished
from core.experiments.bench.sample_jpegs import jpegs
from core.experiments.bench.timing import clocks, in_turn
from core.retrieval.adapter import Adapter
from core.retrieval.index import Index
from core.retrieval.library import PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.questions import EncodedQuery, Query
from core.sglora.request import AdapterRequest

PHOTOS = 20_000
SIZES = (1_000, 20_000, 100_000, 1_000_000)
SENTENCES = ("photos of dogs playing outside", "people at the beach")
QUERIES = tuple(f"{who} {where}" for who in ("a dog", "two children", "a man", "a crowd") for where in ("outside", "in water"))
TOP = 10


def run(context: BenchmarkContext) -> dict[str, Any]:
    """{"indexing": …, "search": …, "growth": [{"rows", …}, …]}."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        indexing = _indexing(context, folder)
        backbone = context.engine.backbone
        photos = LibraryPhotos(PhotoLibrary.open(folder / "library", backbone), backbone)
        sizes = [n for n in SIZES if n <= context.largest] or SIZES[:1]
        search = ("search", QUERIES[0], "--library", str(folder / "library"), "--task", SENTENCES[0])
        return {
            "indexing": indexing,
            "search": min((_command(*search)[1] for _ in range(context.rounds)), key=lambda taken: taken["cpu"]),
            "growth": [_grown(context, photos, folder / f"rows-{n}.f32", n) for n in sizes],
        }


def _indexing(context: BenchmarkContext, folder: Path) -> dict[str, Any]:
    """Run the command ``index`` twice."""
    files = _link(folder / "photos", context)
    context.log(f"library: indexing {files:,} photos in {folder}")
    command = ("index", str(folder / "photos"), "--library", str(folder / "library"))
    report, made = _command(*command)
    _, nothing_new = _command(*command)
    size = sum(path.stat().st_size for path in (folder / "library").rglob("*") if path.is_file())
    return {
        "photos": report["photos"],
        "encoded": report["added"],
        "photos a second": round(report["added"] / report["seconds"]["encode"], 1),
        "processor ms a photo": round(1000 * (made["cpu"] - nothing_new["cpu"]) / max(1, report["added"]), 2),
        "peak MB": made["peak MB"],
        "bytes a photo": round(size / report["photos"]),
    }


def _link(folder: Path, context: BenchmarkContext) -> int:
    """Put links to the data folder's photos into ``folder``, or write sample photos there; returns how many."""
    folder.mkdir()
    number = min(PHOTOS, context.largest)
    if context.data is None:
        for name, content in jpegs(number):
            (folder / name).write_bytes(content)
        return number
    paths = list(dict.fromkeys(sample.path for data in data_folders(context.data) for sample in read_folder(data)))
    for row in np.random.default_rng(0).permutation(len(paths))[:number]:
        (folder / f"{row}.jpg").symlink_to(paths[row].resolve())
    return min(number, len(paths))


def _command(*arguments: str) -> tuple[dict[str, Any], dict[str, float]]:
    """The answer of a command, and what its process takes."""
    done = finished("-m", "core", *arguments, "--json")
    return json.loads(done.out), done.taken


def _grown(context: BenchmarkContext, photos: LibraryPhotos, file: Path, n: int) -> dict[str, Any]:
    """Time a question with a new and with a known sentence among ``n`` rows, which are the photos' vectors plus noise."""
    context.log(f"library: a question among {n:,} rows")
    engine, number, random = context.engine, count(), torch.Generator().manual_seed(n)
    with file.open("wb") as out:
        for rows in np.split(np.arange(n) % len(photos), range(10_000, n, 10_000)):
            vectors = photos.index.take(rows)
            noise = F.normalize(torch.randn(vectors.shape, generator=random), dim=-1)
            out.write(F.normalize(vectors + 0.3 * noise, dim=-1).numpy().tobytes())
    index = Index(np.memmap(file, np.float32, "r", shape=(n, photos.library.about.dim)))
    questions = [Query((text,)).question(engine.backbone) for text in QUERIES]

    def adapted(sentence: str) -> Adapter:
        adaptation = engine.adapt(AdapterRequest(sentence))
        return Adapter.of(adaptation.lora, adaptation.weight)

    def ask(question: EncodedQuery, adapter: Adapter) -> None:
        index.search(question.row(engine.backbone, adapter), TOP)

    known = adapted(SENTENCES[0])
    ways = {
        "new": lambda: ask(questions[0], adapted(f"{SENTENCES[1]}, day {next(number)}")),
        "known": lambda: ask(questions[next(number) % len(questions)], known),
    }
    times = in_turn(ways, context.rounds)
    file.unlink()
    memory = round(psutil.Process().memory_info().rss / 1e6)
    return {"rows": n, **{way: clocks(1000 * np.median(taken, 0)) for way, taken in times.items()}, "resident": memory}


def findings(result: Mapping[str, Any]) -> list[str]:
    made, last, whole = result["indexing"], result["growth"][-1], result["search"]
    return [
        f"{made['photos']:,} photos are indexed at {made['photos a second']:.0f} a second and "
        f"{made['processor ms a photo']:.1f} ms of processor time each. The process has {made['peak MB']:,} MB at most; a "
        f"photo takes {made['bytes a photo'] / 1000:.0f} kB on disk.",
        f"`search` with a new sentence takes {whole['wall']:.1f} s from start to end, {whole['peak MB']:,} MB at most.",
        f"Among {last['rows']:,} rows a question takes {last['new']['wall'] / 1000:.2f} s with a new sentence and "
        f"{last['known']['wall'] / 1000:.2f} s with a known one, at {last['resident']:,} MB of memory.",
    ]


def table(result: Mapping[str, Any]) -> str:
    rows = []
    for r in result["growth"]:
        seconds = [f"{r[way][clock] / 1000:.2f}" for way in ("new", "known") for clock in ("wall", "cpu")]
        rows.append([f"{r['rows']:,}", *seconds, f"{r['resident']:,}"])
    head = ["rows", "new sentence, s", "processor", "known sentence, s", "processor", "memory, MB"]
    return markdown.table(head, rows)
