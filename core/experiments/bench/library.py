"""A library on disk: how fast it is made, what a question costs as it grows, and what two stages miss."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from torch import Tensor

from core.backbones.base import Backbone
from core.common import markdown
from core.data.image_io import open_photo
from core.experiments import figures
from core.experiments.bench import baselines, sample_jpegs
from core.experiments.bench.timing import in_turn
from core.retrieval.adapter import Adapter
from core.retrieval.index import APPROXIMATE_FROM, Index, compressed
from core.retrieval.indexing import index_folders
from core.retrieval.library import PhotoLibrary
from core.retrieval.library_photos import LibraryPhotos
from core.retrieval.two_stage import RERANKED, Question, TwoStageSearch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from core.experiments.bench.context import BenchmarkContext

PHOTOS, PLAIN, TOWER = 5_000, 64, 128  # photos of the library; for the plain script; for the bare tower
SIZES = (1_000, 10_000, 100_000, 1_000_000)
STRENGTHS = (1.0, 2.0, 4.0)
SENTENCES = ("photos of dogs playing outside", "people at the beach", "a street in a city")
QUERIES = tuple(f"{who} {where}" for who in ("a dog", "two children", "a man", "a crowd") for where in ("outside", "in water"))
TOP = 10


@dataclass
class Repeated:
    """Implements ``two_stage.PhotoStore``: the activations of the rows of ``index`` are those of a library's photos in turn."""

    photos: LibraryPhotos
    backbone: Backbone
    index: Index

    def prefixes(self, places: np.ndarray) -> Tensor:
        own, back = np.unique(places % len(self.photos), return_inverse=True)
        return self.photos.prefixes(own)[torch.from_numpy(back)]


def run(context: BenchmarkContext) -> dict[str, Any]:
    """{"indexing": …, "growth": [{"rows", "new", "known", "resident", "anonymous"}, …], "overlap": [{"adapter", …}, …]}."""
    with tempfile.TemporaryDirectory() as folder:
        files = _files(context, Path(folder) / "photos")
        indexing, photos = _indexing(context, Path(folder), files)
        return {
            "indexing": indexing,
            "overlap": _overlap(context, photos),
            "growth": [_grown(context, photos, Path(folder), n) for n in context.sizes(*SIZES)],
        }


def _files(context: BenchmarkContext, folder: Path) -> list[Path]:
    """Photos of the data folder as links, without one views of the sample photos."""
    folder.mkdir()
    number = min(PHOTOS, context.largest)
    if context.data is None:
        for name, content in sample_jpegs.jpegs(number):
            (folder / name).write_bytes(content)
    else:
        from core.data import data_folders, read_folder

        samples = [sample for place in data_folders(context.data) for sample in read_folder(place)]
        for i in np.linspace(0, len(samples) - 1, min(number, len(samples))).astype(int):
            (folder / f"{i}{samples[i].path.suffix}").symlink_to(samples[i].path.resolve())
    return sorted(folder.iterdir())


def _indexing(context: BenchmarkContext, folder: Path, files: Sequence[Path]) -> tuple[dict[str, Any], LibraryPhotos]:
    backbone: Any = context.engine.backbone
    context.log(f"library: indexing {len(files):,} photos")
    library = PhotoLibrary.create(folder / "library", backbone)
    started = time.perf_counter()
    report = index_folders(library, [folder / "photos"], backbone)
    seconds = time.perf_counter() - started
    resident = _resident()
    started = time.perf_counter()
    index_folders(library, [folder / "photos"], backbone)
    again = time.perf_counter() - started
    pixels = torch.stack([backbone.pixels(open_photo(file)) for file in files[:TOWER]])
    contents = [(file.name, file.read_bytes()) for file in files[:PLAIN]]
    plain = baselines.naive(backbone)
    times = in_turn({"tower": lambda: backbone.prefix(pixels), "plain": lambda: plain(contents)}, context.rounds)
    size = sum(path.stat().st_size for path in library.folder.rglob("*") if path.is_file())
    rates = {
        "library": report.photos / seconds,
        "tower": 1000 / times["tower"].median(len(pixels))["wall"],
        "plain script": 1000 / times["plain"].median(len(contents))["wall"],
    }
    result = {
        "photos": report.photos,
        "photos a second": {name: round(rate, 1) for name, rate in rates.items()},
        "nothing new": {"files": len(files), "seconds": round(again, 3)},
        "bytes a photo": round(size / report.photos),
        "resident": resident,
    }
    return result, LibraryPhotos(PhotoLibrary.open(library.folder), backbone)


def _overlap(context: BenchmarkContext, photos: LibraryPhotos) -> list[dict[str, Any]]:
    """Of the ten best photos by every photo through the adapter, how many two stages find."""
    engine = context.engine
    best = max(range(len(engine.repository)), key=lambda i: engine.repository.experts[i].gain() or 0.0)
    loras = {"generated": engine.adapt(SENTENCES[0]).lora, "expert": engine.repository.lora(best)}
    words = engine.backbone.encode_text(QUERIES)
    rows = []
    for name, lora in loras.items():
        for strength in STRENGTHS:
            context.log(f"library: overlap, {name} adapter x {strength:g}")
            search = TwoStageSearch(photos, exact_up_to=0)
            adapter = Adapter.of(lora.scaled(strength))
            adapted = search.whole(adapter).rows
            shared = []
            for query in words:
                exact = set(Index(adapted).search(query, TOP, exact=True))
                found = search.search(Question(query), [adapter], TOP)[0]
                shared.append(len({place for place, _ in exact} & set(found.places.tolist())) / TOP)
            cosine = F.cosine_similarity(adapted, photos.index.take(np.arange(len(photos)))).mean()
            percent = round(100 * float(np.mean(shared)), 1)
            rows.append({"adapter": name, "strength": strength, "cosine": round(float(cosine), 3), "overlap": percent})
    return rows


def _grown(context: BenchmarkContext, photos: LibraryPhotos, folder: Path, n: int) -> dict[str, Any]:
    """A question with a new sentence and with a known one among ``n`` rows."""
    context.log(f"library: a question among {n:,} rows")
    engine, number = context.engine, count()
    rows = _vectors(photos, folder / "rows.f32", n)
    store = Repeated(photos, photos.backbone, Index.over(rows, compressed(rows) if n >= APPROXIMATE_FROM else None))
    words = engine.backbone.encode_text(QUERIES)
    known = TwoStageSearch(store)
    adapter = Adapter.of(engine.adapt(SENTENCES[0]).lora)

    def new() -> None:
        made = Adapter.of(engine.adapt(f"{SENTENCES[1]}, day {next(number)}").lora)
        TwoStageSearch(store).search(Question(words[0]), [made], TOP)

    ways = {"new": new, "known": lambda: known.search(Question(words[next(number) % len(words)]), [adapter], TOP)}
    times = in_turn(ways, context.rounds)
    return {"rows": n, **{way: taken.median() for way, taken in times.items()}, **_resident()}


def _vectors(photos: LibraryPhotos, file: Path, n: int) -> np.ndarray:
    """The photos' vectors in turn, each with some noise, as a memory-mapped file [n, d]."""
    random = torch.Generator().manual_seed(n)
    with file.open("wb") as out:
        for start in range(0, n, len(photos)):
            own = photos.index.take(np.arange(min(len(photos), n - start)))
            noise = torch.randn(own.shape, generator=random)
            out.write(F.normalize(own + 0.3 * F.normalize(noise, dim=-1), dim=-1).numpy().tobytes())
    return np.memmap(file, np.float32, "r", shape=(n, photos.index.take(np.arange(1)).shape[1]))


def _resident() -> dict[str, int]:
    """Megabytes of this process; "anonymous" leaves out files that are mapped, whose pages the system takes back at need."""
    memory = psutil.Process(os.getpid()).memory_info()
    return {"resident": round(memory.rss / 1e6), "anonymous": round((memory.rss - getattr(memory, "shared", 0)) / 1e6)}


def findings(result: Mapping[str, Any]) -> list[str]:
    """Making it, asking it, and what two stages miss."""
    made, last = result["indexing"], result["growth"][-1]
    rate = made["photos a second"]
    return [
        f"{made['photos']:,} photos are indexed at {rate['library']:.0f} a second, {rate['library'] / rate['tower']:.2f} of "
        f"the bare tower on decoded photos and {rate['library'] / rate['plain script']:.1f} times a plain script; they take "
        f"{made['bytes a photo'] / 1000:.0f} kB each. With nothing new, {made['nothing new']['files']:,} files take "
        f"{made['nothing new']['seconds']:.1f} s. Resident while indexing: {made['resident']['resident']:,} MB.",
        f"Among {last['rows']:,} rows (activations of {made['photos']:,} photos, repeated) a question takes "
        f"{last['new']['wall'] / 1000:.2f} s with a new sentence and {last['known']['wall'] / 1000:.2f} s with a known one, at "
        f"{last['anonymous']:,} MB of memory beside mapped files.",
        f"With {RERANKED} photos ranked again, of the ten best these were found: "
        + "; ".join(
            f"{r['adapter']} x {r['strength']:g} (cosine {r['cosine']:.2f}) {r['overlap']:.1f} %" for r in result["overlap"]
        )
        + ".",
    ]


def table(result: Mapping[str, Any]) -> str:
    """Growth, and overlap by the strength of an adapter."""
    grown = []
    for r in result["growth"]:
        seconds = [f"{r[way][clock] / 1000:.2f}" for way in ("new", "known") for clock in ("wall", "cpu")]
        grown.append([f"{r['rows']:,}", *seconds, f"{r['anonymous']:,}", f"{r['resident']:,}"])
    head = ["rows", "new sentence, s", "processor", "known sentence, s", "processor", "memory, MB", "with mapped files"]
    rows = [[r["adapter"], f"{r['strength']:g}", f"{r['cosine']:.2f}", f"{r['overlap']:.1f}"] for r in result["overlap"]]
    below = ["adapter", "strength", "cosine to zero-shot", "same ten best, %"]
    return f"{markdown.table(head, grown)}\n\n{markdown.table(below, rows)}"


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
