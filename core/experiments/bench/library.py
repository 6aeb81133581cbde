"""A library on disk: how fast it is made, what a question costs as it grows, and what "but not" finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
import torch.nn.functional as F

from core.backbones.embedded import EmbeddedBackbone
from core.common import markdown
from core.common.paths import ROOT
from core.data import data_folders, read_folder
from core.data.image_io import open_photo
from core.data.sample import gather
from core.experiments import figures
from core.experiments.bench import baselines, sample_jpegs
from core.experiments.bench.timing import in_turn
from core.retrieval.adapter import Adapter
from core.retrieval.columns import padded
from core.retrieval.index import APPROXIMATE_FROM
from core.retrieval.library import PhotoLibrary
from core.retrieval.library_index import index_over, scan_of
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.questions import EncodedQuery, Query
from core.sglora.request import AdapterRequest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from core.experiments.bench.context import BenchmarkContext

PHOTOS, PLAIN, TOWER = 20_000, 64, 256  # photos of the library; for the plain script; for the bare tower
SIZES = (1_000, 5_000, 20_000, 100_000, 1_000_000)
SENTENCES = ("photos of dogs playing outside", "people at the beach")
QUERIES = tuple(f"{who} {where}" for who in ("a dog", "two children", "a man", "a crowd") for where in ("outside", "in water"))
TOP, FIRST = 10, 20
BUT_NOT = (
    *(("dog", other) for other in ("water", "snow", "grass", "ball")),
    *(("boy", other) for other in ("water", "grass", "ball", "swing")),
    *(("people", other) for other in ("street", "snow", "beach", "mountain")),
)
WEIGHTS = (0.0, 0.25, 0.5, 1.0)


def run(context: BenchmarkContext) -> dict[str, Any]:
    """{"indexing": …, "search": …, "growth": [{"rows", …}, …], "but not": […]}."""
    folders = data_folders(context.data) if context.data else []
    captions = gather([sample for folder in folders for sample in read_folder(folder)])
    with tempfile.TemporaryDirectory() as temporary:
        folder = context.work or Path(temporary)
        files = _files(folder / "photos", list(captions), min(PHOTOS, context.largest))
        indexing = _indexing(context, folder, files)
        backbone = context.engine.backbone
        photos = LibraryPhotos(PhotoLibrary.open(folder / "library", backbone), backbone)
        search = ("search", QUERIES[0], "--library", str(folder / "library"), "--task", SENTENCES[0])
        return {
            "indexing": indexing,
            "search": min((_command(*search)[1] for _ in range(context.rounds)), key=lambda taken: taken["cpu"]),
            "growth": [_grown(context, photos, folder / f"rows-{n}.f32", n) for n in context.sizes(*SIZES)],
            "but not": _but_not(photos, captions),
        }


def _files(folder: Path, given: list[Path], number: int) -> list[Path]:
    """Links to so many of the given photos, or to all of them; where none is given, views of the sample photos."""
    folder.mkdir(parents=True, exist_ok=True)
    if not given:
        for name, content in sample_jpegs.jpegs(number):
            (folder / name).write_bytes(content)
    for place in np.random.default_rng(0).permutation(len(given))[:number]:
        link = folder / f"{place}.jpg"
        if not link.is_symlink():
            link.symlink_to(given[place].resolve())
    return sorted(folder.iterdir())


def _indexing(context: BenchmarkContext, folder: Path, files: list[Path]) -> dict[str, Any]:
    """The command ``index``, twice, beside the bare tower; a library that an earlier run finished is not made again."""
    finished, backbone = folder / "indexing.json", context.engine.backbone
    assert isinstance(backbone, EmbeddedBackbone)
    if finished.is_file():
        return json.loads(finished.read_text())
    context.log(f"library: indexing {len(files):,} photos in {folder}")
    command = ("index", str(folder / "photos"), "--library", str(folder / "library"))
    report, made = _command(*command)
    _, nothing_new = _command(*command)
    pixels = torch.stack([backbone.pixels(open_photo(file)) for file in files[:TOWER]])
    contents = [(file.name, file.read_bytes()) for file in files[:PLAIN]]
    plain = baselines.naive(backbone)
    ways = {"tower": lambda: backbone.image_tower(pixels), "plain script": lambda: plain(contents)}
    times = in_turn(ways, context.rounds)
    size = sum(path.stat().st_size for path in (folder / "library").rglob("*") if path.is_file())
    library = 1000 * (made["cpu"] - nothing_new["cpu"]) / max(1, report["added"])
    result = {
        "photos": report["photos"],
        "encoded": report["added"],
        "photos a second": round(report["added"] / report["seconds"]["encode"], 1),
        "processor ms a photo": {
            "library": round(library, 2),
            "tower": times["tower"].best(len(pixels))["cpu"],
            "plain script": times["plain script"].best(len(contents))["cpu"],
        },
        "peak MB": made["peak MB"],
        "nothing new": {"files": len(files), **nothing_new},
        "bytes a photo": round(size / report["photos"]),
    }
    finished.write_text(json.dumps(result))
    return result


def _command(*arguments: str) -> tuple[dict[str, Any], dict[str, float]]:
    """What a command answers, and its seconds of wall clock and processor time and its highest resident memory."""
    command = [sys.executable, "-m", "core", *arguments, "--json"]
    peak, before, started = 0, os.times(), time.perf_counter()
    with tempfile.TemporaryFile() as out:
        process = psutil.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            # The system's own figure for a process that has ended counts the memory of the one that started it.
            with suppress(psutil.NoSuchProcess):
                peak = max(peak, process.memory_info().rss)
            time.sleep(0.02)
        wall, after = time.perf_counter() - started, os.times()
        out.seek(0)
        answer = json.load(out)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return answer, {"wall": round(wall, 2), "cpu": round(cpu, 2), "peak MB": round(peak / 1e6)}


def _grown(context: BenchmarkContext, photos: LibraryPhotos, file: Path, n: int) -> dict[str, Any]:
    """A question with a new sentence and with a known one among ``n`` rows: the photos' vectors in turn, each with noise."""
    context.log(f"library: a question among {n:,} rows")
    engine, number, random = context.engine, count(), torch.Generator().manual_seed(n)
    with file.open("wb") as out:
        for places in np.split(np.arange(n) % len(photos), range(10_000, n, 10_000)):
            own = photos.index.take(places)
            noise = F.normalize(torch.randn(own.shape, generator=random), dim=-1)
            out.write(F.normalize(own + 0.3 * noise, dim=-1).numpy().tobytes())
    shape = (n, photos.library.about.dim)
    index = index_over(file, shape, scan_of(file, shape) if n >= APPROXIMATE_FROM else None)
    questions = [Query((text,)).question(engine.backbone) for text in QUERIES]

    def adapted(sentence: str) -> Adapter:
        made = engine.adapt(AdapterRequest(sentence))
        return Adapter.of(made.lora, made.weight)

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
    return {"rows": n, **{way: taken.median() for way, taken in times.items()}, "resident": memory}


def _but_not(photos: LibraryPhotos, captions: Mapping[Path, tuple[str, ...]]) -> list[dict[str, float]]:
    """Of the first captioned photos for "dog -water" and its like, how many captions name what is wanted, and what is not."""
    said = {path.resolve(): " ".join(texts).lower().split() for path, texts in captions.items() if len(texts) > 1}
    paths = [path.resolve() for path in photos.paths(range(len(photos)))]
    among = np.array([place for place, path in enumerate(paths) if path in said])
    rows = []
    for weight in WEIGHTS if len(among) else ():
        counts = np.zeros(2)
        for pair in BUT_NOT:
            wanted, unwanted = photos.backbone.encode_text(pair)
            question = padded(photos.backbone, wanted - weight * unwanted)
            places = [place for place, _ in photos.index.search(question, FIRST, True, among)]
            counts += [np.mean([word in said[paths[place]] for place in places]) for word in pair]
        wanted_share, unwanted_share = (100 * counts / len(BUT_NOT)).round(1).tolist()
        rows.append({"weight": weight, "wanted": wanted_share, "unwanted": unwanted_share})
    return rows


def findings(result: Mapping[str, Any]) -> list[str]:
    """Making it, asking it, and what "but not" finds."""
    made, last, whole = result["indexing"], result["growth"][-1], result["search"]
    each, nothing = made["processor ms a photo"], made["nothing new"]
    return [
        f"{made['photos']:,} photos are indexed at {made['photos a second']:.0f} a second and {each['library']:.1f} ms of "
        f"processor time each, of which the bare tower takes {each['tower']:.1f}; a plain "
        f"script takes {each['plain script']:.1f}. The process has {made['peak MB']:,} MB at most; a photo takes "
        f"{made['bytes a photo'] / 1000:.0f} kB on disk.",
        f"With nothing new, {nothing['files']:,} files take {nothing['wall']:.1f} s, start included.",
        f"`search` with a new sentence takes {whole['wall']:.1f} s from start to end, {whole['peak MB']:,} MB at most.",
        f"Among {last['rows']:,} rows a question takes {last['new']['wall'] / 1000:.2f} s with a new sentence and "
        f"{last['known']['wall'] / 1000:.2f} s with a known one, at {last['resident']:,} MB of memory.",
    ]


def table(result: Mapping[str, Any]) -> str:
    """Growth, and what "but not" finds by its weight."""
    grown = []
    for r in result["growth"]:
        seconds = [f"{r[way][clock] / 1000:.2f}" for way in ("new", "known") for clock in ("wall", "cpu")]
        grown.append([f"{r['rows']:,}", *seconds, f"{r['resident']:,}"])
    head = ["rows", "new sentence, s", "processor", "known sentence, s", "processor", "memory, MB"]
    without = [[f"{r['weight']:g}", f"{r['wanted']:.1f}", f"{r['unwanted']:.1f}"] for r in result["but not"]]
    minus = ["weight of “-water” in “dog -water”", f"wanted, % of the first {FIRST}", "not wanted, %"]
    tables = [(head, grown), *([(minus, without)] if without else [])]
    return "\n\n".join(markdown.table(*each) for each in tables)


def plot(result: Mapping[str, Any]) -> Figure:
    """Seconds over rows."""
    figure, (axes,) = figures.panels()
    for colour, way in zip(figures.COLOURS, ("new", "known"), strict=False):
        points = [(r["rows"], r[way]["wall"] / 1000) for r in result["growth"]]
        axes.plot(*zip(*points, strict=True), "o-", color=colour, label=f"{way} sentence", markersize=4)
    axes.set_xscale("log")
    axes.set_ylim(0)
    axes.set_xlabel("photos in the library")
    axes.set_title("one question, seconds")
    axes.legend()
    return figure
