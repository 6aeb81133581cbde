"""Photos per second from the bytes of a JPEG to the index, against the bare frozen tower and against a first script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from core.common import markdown
from core.data.decode import BATCH
from core.data.image_io import open_photo, thumbnail
from core.experiments import figures
from core.experiments.bench import baselines, sample_jpegs
from core.experiments.bench.timing import Times, in_turn
from core.retrieval.gallery import Gallery

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from core.backbones.embedded import EmbeddedBackbone
    from core.experiments.bench.context import BenchmarkContext

SIZES = ((224, 224), sample_jpegs.PHOTO, sample_jpegs.WIDE, sample_jpegs.PHONE)
PHOTOS = 4 * BATCH
LARGE_PHOTOS = BATCH  # of more than LARGE pixels: decoding all of such a photo takes a tenth of a second
LARGE = 4_000_000
INDEXED, TOWER, MODEL, NAIVE = "indexed", "tower", "tower and head", "naive"
PARTS = ("open", "resize", "thumbnail", "tower", "head")


def run(context: BenchmarkContext, sizes: Sequence[tuple[int, int]] = SIZES, photos: int = PHOTOS) -> dict[str, Any]:
    """For each size of a photo: photos per second of all ways, ratios, and milliseconds of each part.

    Args:
        sizes: (width, height) of the JPEGs. photos: of each size, fewer of the largest.
    """
    backbone = context.engine.backbone
    first_script = baselines.naive(backbone)  # type: ignore[arg-type]
    rows = []
    for width, height in sizes:
        number = min(context.largest, photos, LARGE_PHOTOS if width * height > LARGE else photos)
        context.log(f"indexing: {number} photos of {width} x {height}")
        found = _measured(backbone, sample_jpegs.jpegs(number, (width, height)), context.rounds, first_script)
        rows.append({"width": width, "height": height, **found})
    return {"batch": BATCH, "sizes": rows}


def indexed(backbone: EmbeddedBackbone, files: Sequence[baselines.Source]) -> Tensor:
    """As the app does it: a new gallery, and its index for zero-shot search; [n, d]."""
    gallery = Gallery(backbone, len(files))
    gallery.add(files)
    return gallery.embeddings()


def _measured(backbone: Any, files: Sequence[baselines.Source], rounds: int, first_script: Any) -> dict[str, Any]:
    images = [open_photo(content, name) for name, content in files]
    ready = torch.stack([backbone.pixels(image) for image in images]).split(BATCH)
    n = len(files)
    variants = {
        INDEXED: lambda: indexed(backbone, files),
        TOWER: lambda: [backbone.image_tower(batch) for batch in ready],
        MODEL: lambda: [backbone.prefix(batch) for batch in ready],
        NAIVE: lambda: first_script(files),
    }
    times = in_turn(variants, rounds)
    maps = backbone.image_tower(ready[0])
    parts = in_turn(
        {
            "open": lambda: [open_photo(content, name) for name, content in files[:BATCH]],
            "resize": lambda: [backbone.pixels(image) for image in images[:BATCH]],
            "thumbnail": lambda: [thumbnail(image) for image in images[:BATCH]],
            "tower": lambda: backbone.image_tower(ready[0]),
            "head": lambda: backbone.embedded(maps),
        },
        rounds,
        warm=False,
    )
    return {
        "kilobytes": round(sum(len(content) for _, content in files) / n / 1000, 1),
        "photos": n,
        "photos a second": {name: _rates(taken, n) for name, taken in times.items()},
        "of the tower": times[TOWER].over(times[INDEXED]),
        "of tower and head": times[MODEL].over(times[INDEXED]),
        "times naive": times[NAIVE].over(times[INDEXED]),
        "milliseconds": {name: taken.best(len(ready[0]))["cpu"] for name, taken in parts.items()},
    }


def _rates(taken: Times, number: int) -> dict[str, float]:
    """Photos per second by the clock, and per second of processor time."""
    return {clock: float(f"{1000 / value:.4g}") for clock, value in taken.best(number).items()}


def findings(result: Mapping[str, Any]) -> list[str]:
    """What each size of photo comes to."""
    said = []
    for r in result["sizes"]:
        rate = r["photos a second"]
        said.append(
            f"JPEGs of {r['width']} x {r['height']}: {rate[INDEXED]['wall']:.0f} photos a second, "
            f"{r['of the tower']['wall']:.2f} of the bare tower on ready tensors, {r['of tower and head']['wall']:.2f} of "
            f"tower and head, and {r['times naive']['wall']:.1f} times the first script "
            f"(by processor time {r['of the tower']['cpu']:.2f}, {r['of tower and head']['cpu']:.2f} and "
            f"{r['times naive']['cpu']:.1f})."
        )
    return said


def table(result: Mapping[str, Any]) -> str:
    """Photos per second, ratios, and where the time goes."""
    rates, parts = [], []
    for r in result["sizes"]:
        name, rate = f"{r['width']} x {r['height']}", r["photos a second"]
        ratios = [r["of the tower"], r["of tower and head"], r["times naive"]]
        shown = [f"{x['wall']:.2f} / {x['cpu']:.2f}" for x in ratios]
        rates.append([name, *(f"{rate[way]['wall']:.0f}" for way in (INDEXED, TOWER, MODEL, NAIVE)), *shown])
        parts.append([name, f"{r['kilobytes']:.0f}", *(f"{r['milliseconds'][part]:.2f}" for part in PARTS)])
    head = ["JPEG", "photos / s", "bare tower", "tower and head", "naive", "of the tower", "of tower and head", "times naive"]
    below = ["JPEG", "kB", *(f"{part}, ms" for part in PARTS)]
    return (
        f"{markdown.table(head, rates)}\n\nRatios by the clock / by processor time.\n\n"
        f"Processor time of a photo, part by part:\n\n{markdown.table(below, parts)}"
    )


def plot(result: Mapping[str, Any]) -> Figure:
    """Photos per second over the size of the JPEG."""
    figure, (axes,) = figures.panels(grid="both")
    megapixels = [r["width"] * r["height"] / 1e6 for r in result["sizes"]]
    names = {INDEXED: "JPEG to index", TOWER: "bare tower", MODEL: "tower and head", NAIVE: "one at a time, float32"}
    for colour, (way, name) in zip(figures.COLOURS, names.items(), strict=False):
        rates = [r["photos a second"][way]["wall"] for r in result["sizes"]]
        axes.plot(megapixels, rates, "o-", color=colour, label=name, markersize=4)
    axes.set_xscale("log")
    fastest = max(rate["wall"] for r in result["sizes"] for rate in r["photos a second"].values())
    axes.set_ylim(0, 1.5 * fastest)  # room for the legend
    axes.set_xlabel("megapixels of a JPEG")
    axes.set_title("photos a second")
    axes.legend(ncols=2, loc="upper right")
    return figure
