"""A library on disk: how fast it is made, what a question costs as it grows, and what "but not" finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from core.backbones.embedded import EmbeddedBackbone
from core.common import markdown
from core.common.paths import ROOT
from core.data.image_io import open_photo
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
SENTENCES = ("photos of dogs playing outside", "people at the beach", "a street in a city")
QUERIES = tuple(f"{who} {where}" for who in ("a dog", "two children", "a man", "a crowd") for where in ("outside", "in water"))
TOP, FIRST = 10, 20
CAPTIONED = 20_000  # photos whose captions are looked at
BUT_NOT = (
    *(("dog", other) for other in ("water", "snow", "grass", "ball")),
    *(("boy", other) for other in ("water", "grass", "ball", "swing")),
    *(("people", other) for other in ("street", "snow", "beach", "mountain")),
)
WEIGHTS = (0.0, 0.25, 0.5, 1.0)


def run(context: BenchmarkContext) -> dict[str, Any]:
    """{"indexing": …, "search": …, "growth": [{"rows", …}, …], "but not": […]}."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = context.work or Path(temporary)
        files = _files(context, folder / "photos")
        indexing = _indexing(context, folder, files)
        backbone = context.engine.backbone
        photos = LibraryPhotos(PhotoLibrary.open(folder / "library", backbone), backbone)
        return {
            "indexing": indexing,
            "search": _whole_process(context, folder / "library"),
            "growth": [_grown(context, photos, folder, n) for n in context.sizes(*SIZES)],
            "but not": _but_not(context, photos),
        }


def _files(context: BenchmarkContext, folder: Path) -> list[Path]:
    """Photos of the data folder, then crops and flips of them; without one, views of the sample photos."""
    number = min(PHOTOS, context.largest)
    context.log(f"library: {number:,} photos in {folder}")
    if context.data is None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in sample_jpegs.jpegs(number):
            (folder / name).write_bytes(content)
        return sorted(folder.iterdir())
    from core.data import data_folders, read_folder

    samples = [sample.path for place in data_folders(context.data) for sample in read_folder(place)]
    samples = [samples[i] for i in np.random.default_rng(0).permutation(len(samples))]
    files = [folder / f"{i // 1_000:04}" / f"{i:07}.jpg" for i in range(number)]
    for i, file in enumerate(files):
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            source = samples[i % len(samples)]
            file.symlink_to(source.resolve()) if i < len(samples) else _crop(source, i, file)
    return files


def _crop(source: Path, number: int, file: Path) -> None:
    """Between half and nine tenths of each side of a photo, perhaps mirrored."""
    random, image = np.random.default_rng(number), open_photo(source)
    width, height = (round(side * share) for side, share in zip(image.size, random.uniform(0.5, 0.9, 2), strict=True))
    left, top = (int(random.integers(side - part + 1)) for side, part in zip(image.size, (width, height), strict=True))
    image = image.resize((224, 224), Image.Resampling.BICUBIC, (left, top, left + width, top + height))
    (ImageOps.mirror(image) if random.random() < 0.5 else image).save(file, "JPEG", quality=85)


def _indexing(context: BenchmarkContext, folder: Path, files: Sequence[Path]) -> dict[str, Any]:
    """The command ``index``, twice, with the bare tower in turn; a library that an earlier run finished is not made again."""
    finished, backbone = folder / "indexing.json", context.engine.backbone
    assert isinstance(backbone, EmbeddedBackbone)
    if finished.is_file():
        return json.loads(finished.read_text())
    pixels = torch.stack([backbone.pixels(open_photo(file)) for file in files[:TOWER]])
    contents = [(file.name, file.read_bytes()) for file in files[:PLAIN]]
    plain, maps = baselines.naive(backbone), backbone.image_tower(pixels)
    bare = {
        "tower": lambda: backbone.image_tower(pixels),
        "head": lambda: backbone.embedded(maps),
        "plain script": lambda: plain(contents),
    }
    command = ("index", str(folder / "photos"), "--library", str(folder / "library"))
    before = in_turn(bare, context.rounds)
    context.log(f"library: indexing {len(files):,} photos")
    report, made = _command(*command)
    after = in_turn(bare, context.rounds)
    again, nothing_new = _command(*command)
    each = {name: min(t[name].best(n)["cpu"] for t in (before, after)) for name, n in _numbers(len(pixels), len(contents))}
    walls = {name: min(t[name].best(n)["wall"] for t in (before, after)) for name, n in _numbers(len(pixels), len(contents))}
    encode = report["seconds"]["encode"]
    size = sum(path.stat().st_size for path in (folder / "library").rglob("*") if path.is_file())
    result = {
        "photos": report["photos"],
        "encoded": report["added"],
        "photos a second": round(report["added"] / encode, 1),
        "tower a second": round(1000 / walls["tower"], 1),
        "processor ms a photo": {
            "library": round(1000 * (made["cpu"] - nothing_new["cpu"]) / max(1, report["added"]), 2),
            **each,
        },
        "peak MB": made["peak MB"],
        "nothing new": {"files": len(files), "look": again["seconds"]["look"], **nothing_new},
        "bytes a photo": round(size / report["photos"]),
    }
    finished.write_text(json.dumps(result))
    return result


def _numbers(pixels: int, contents: int) -> list[tuple[str, int]]:
    return [("tower", pixels), ("head", pixels), ("plain script", contents)]


def _whole_process(context: BenchmarkContext, library: Path) -> dict[str, Any]:
    """The command ``search`` from its start to its end, in the best of all rounds."""
    laps = [_command("search", QUERIES[0], "--library", str(library), "--task", SENTENCES[0]) for _ in range(context.rounds)]
    answer, taken = min(laps, key=lambda lap: lap[1]["cpu"])
    return {**taken, "wall": min(lap[1]["wall"] for lap in laps), "steps": answer["seconds"]}


def _command(*arguments: str) -> tuple[dict[str, Any], dict[str, float]]:
    """What a command answers, and its seconds of wall clock and processor time and its highest resident memory."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "core", *arguments, "--json"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    peak, memory = [0], psutil.Process(process.pid)

    def watch() -> None:
        while True:
            with suppress(psutil.NoSuchProcess):
                peak.append(memory.memory_info().rss)
            if ended.wait(0.1):
                return

    ended = threading.Event()
    watching = threading.Thread(target=watch)
    watching.start()
    answer = process.stdout.read()
    ended.set()
    watching.join()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall, cpu = time.perf_counter() - started, used.ru_utime + used.ru_stime
    return json.loads(answer), {"wall": round(wall, 2), "cpu": round(cpu, 2), "peak MB": round(max(peak) / 1e6)}


def _captioned(context: BenchmarkContext) -> dict[Path, tuple[str, ...]]:
    """Photos that people wrote captions for, those of the data folder or the sample photos."""
    from core.data import data_folders, read_folder
    from core.data.sample import caption_texts
    from core.data.sample_photos import sample_photos

    if context.data is None:
        return {sample.path: sample.captions for sample in sample_photos()}
    samples = [sample for place in data_folders(context.data) for sample in read_folder(place) if len(sample.captions) > 1]
    return {sample.path: caption_texts(sample) for sample in samples}


def _but_not(context: BenchmarkContext, photos: LibraryPhotos) -> list[dict[str, float]]:
    """Of the first captioned photos for "dog -water" and its like, how many captions name what is wanted, and what is not."""
    captioned = {path.resolve(): " ".join(texts).lower().split() for path, texts in _captioned(context).items()}
    paths = photos.paths(range(min(CAPTIONED, len(photos))))
    words = {place: captioned[real] for place, path in enumerate(paths) if (real := path.resolve()) in captioned}
    if not words:
        return []
    among, rows = np.array(list(words)), []
    for weight in WEIGHTS:
        counts = np.zeros(2)
        for pair in BUT_NOT:
            wanted, unwanted = photos.backbone.encode_text(pair)
            question = padded(photos.backbone, wanted - weight * unwanted)
            places = [place for place, _ in photos.index.search(question, FIRST, True, among)]
            counts += [np.mean([word in words[place] for place in places]) for word in pair]
        wanted_share, unwanted_share = (100 * counts / len(BUT_NOT)).round(1).tolist()
        rows.append({"weight": weight, "wanted": wanted_share, "unwanted": unwanted_share})
    return rows


def _grown(context: BenchmarkContext, photos: LibraryPhotos, folder: Path, n: int) -> dict[str, Any]:
    """A question with a new sentence and with a known one among ``n`` rows."""
    context.log(f"library: a question among {n:,} rows")
    engine, number = context.engine, count()
    file, shape = folder / f"rows-{n}.f32", (n, photos.library.about.dim)
    _write_vectors(photos, file, n)
    index = index_over(file, shape, scan_of(file, shape) if n >= APPROXIMATE_FROM else None)
    questions = [Query((text,)).question(engine.backbone) for text in QUERIES]

    def adapted(sentence: str) -> Adapter:
        made = engine.adapt(AdapterRequest(sentence))
        return Adapter.of(made.lora, made.weight)

    known = adapted(SENTENCES[0])

    def ask(question: EncodedQuery, adapter: Adapter) -> None:
        index.search(question.row(engine.backbone, adapter), TOP)

    ways = {
        "new": lambda: ask(questions[0], adapted(f"{SENTENCES[1]}, day {next(number)}")),
        "known": lambda: ask(questions[next(number) % len(questions)], known),
    }
    times = in_turn(ways, context.rounds)
    file.unlink()
    return {"rows": n, **{way: taken.median() for way, taken in times.items()}, **_resident()}


def _write_vectors(photos: LibraryPhotos, file: Path, n: int) -> None:
    """The photos' vectors in turn, each with some noise, as a file [n, d] float32."""
    random = torch.Generator().manual_seed(n)
    with file.open("wb") as out:
        for start in range(0, n, len(photos)):
            for part in np.split(np.arange(min(len(photos), n - start)), range(10_000, len(photos), 10_000)):
                own = photos.index.take(part)
                noise = torch.randn(own.shape, generator=random)
                out.write(F.normalize(own + 0.3 * F.normalize(noise, dim=-1), dim=-1).numpy().tobytes())


def _resident() -> dict[str, int]:
    """Megabytes of this process; "anonymous" leaves out files that are mapped, whose pages the system takes back at need."""
    memory = psutil.Process(os.getpid()).memory_info()
    return {"resident": round(memory.rss / 1e6), "anonymous": round((memory.rss - getattr(memory, "shared", 0)) / 1e6)}


def findings(result: Mapping[str, Any]) -> list[str]:
    """Making it, asking it, and what "but not" finds."""
    made, last, whole = result["indexing"], result["growth"][-1], result["search"]
    each, nothing = made["processor ms a photo"], made["nothing new"]
    return [
        f"{made['photos']:,} photos are indexed at {made['photos a second']:.0f} a second and {each['library']:.1f} ms of "
        f"processor time each, of which the bare tower takes {each['tower']:.1f} ({each['tower'] / each['library']:.2f}) and "
        f"the head {each['head']:.1f}; a plain script takes {each['plain script']:.1f}. The process has {made['peak MB']:,} MB "
        f"at most; a photo takes {made['bytes a photo'] / 1000:.0f} kB on disk.",
        f"With nothing new, {nothing['files']:,} files take {nothing['wall']:.1f} s ({nothing['cpu']:.1f} of processor time), "
        f"start included; looking at them takes {nothing['look']:.1f} s.",
        f"`search` with a new sentence takes {whole['wall']:.1f} s from start to end ({whole['cpu']:.1f} of processor time), "
        f"{whole['peak MB']:,} MB at most.",
        f"Among {last['rows']:,} rows (vectors of {made['photos']:,} photos, with noise) a question takes "
        f"{last['new']['wall'] / 1000:.2f} s with a new sentence and {last['known']['wall'] / 1000:.2f} s with a known one, at "
        f"{last['resident']:,} MB of memory.",
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
