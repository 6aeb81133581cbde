"""A new sentence for photos that are indexed already, against encoding them all again; and what is kept of a photo for that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from core.common import markdown
from core.experiments import figures
from core.experiments.bench import baselines, sample_jpegs
from core.experiments.bench.timing import in_turn
from core.retrieval.gallery import Adapter, Gallery
from core.retrieval.index import Index

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from core.experiments.bench.context import BenchmarkContext

SIZES = (100, 1_000, 5_000)
QUERY = "a tower at dusk"
INDEXED, AGAIN = "indexed", "encoded again"


def run(context: BenchmarkContext, size: tuple[int, int] = sample_jpegs.PHOTO) -> dict[str, Any]:
    """For each gallery: from a sentence to a ranking with what is kept of its photos and without; and bytes a photo.

    Args:
        size: (width, height) of the JPEGs.
    """
    engine, number = context.engine, count()
    backbone = engine.backbone
    sizes = context.sizes(*SIZES)
    gallery = Gallery(backbone, max(sizes))
    rows = []
    for n in sizes:
        context.log(f"re-adaptation: {n:,} photos")
        files = sample_jpegs.jpegs(n, size)
        gallery.add(files[len(gallery.photos) :])

        def sentence() -> Adapter:
            return Adapter.of(engine.adapt(f"photos of buildings, album {next(number)}").lora)

        def again(files: Sequence[tuple[str, bytes]] = files) -> None:
            lora = sentence().lora
            rows = baselines.encoded_again(backbone, files, lora)
            Index(rows).search(backbone.encode_text([QUERY], lora)[0], 10)

        variants = {INDEXED: lambda: gallery.text_to_image(QUERY, sentence()), AGAIN: again}
        # Encoding thousands of photos again takes minutes, and is long enough not to need repeating.
        rounds = context.rounds if n <= SIZES[0] else min(context.rounds, 2)
        times = in_turn(variants, rounds, warm=n == sizes[0])
        rows.append(
            {
                "photos": n,
                "rounds": rounds,
                "seconds": {way: {clock: v / 1000 for clock, v in taken.best().items()} for way, taken in times.items()},
                "times faster": times[AGAIN].over(times[INDEXED]),
            }
        )
    return {
        "jpeg": list(size),
        "sizes": rows,
        "bytes a photo": 2 * math.prod(backbone.prefix_shape) + 4 * backbone.dim,
    }


def findings(result: Mapping[str, Any]) -> list[str]:
    """How much an index saves, in time and for how much memory."""
    said = [
        f"{r['photos']:,} photos: {r['seconds'][INDEXED]['wall']:.3g} s from a new sentence to a ranking, "
        f"{r['times faster']['wall']:.1f} times as fast as encoding all again ({r['times faster']['cpu']:.1f} times by "
        "processor time)."
        for r in result["sizes"]
    ]
    size = result["bytes a photo"]
    said.append(f"What is kept of a photo for that takes {size:,} bytes ({size / 1024:.1f} KiB), beside its thumbnail.")
    return said


def table(result: Mapping[str, Any]) -> str:
    """Seconds for each gallery."""
    rows = [
        [
            f"{r['photos']:,}",
            *(f"{r['seconds'][way]['wall']:.3g}" for way in (INDEXED, AGAIN)),
            *(f"{r['seconds'][way]['cpu']:.3g}" for way in (INDEXED, AGAIN)),
            f"{r['times faster']['wall']:.1f} / {r['times faster']['cpu']:.1f}",
            f"{r['photos'] * result['bytes a photo'] / 1e6:,.0f}",
        ]
        for r in result["sizes"]
    ]
    head = ["photos", "indexed, s", "again, s", "indexed, processor s", "again, processor s", "times faster", "kept, MB"]
    return f"{markdown.table(head, rows)}\n\nTimes faster by the clock / by processor time."


def plot(result: Mapping[str, Any]) -> Figure:
    """Seconds over photos, both on logarithmic axes."""
    figure, (axes,) = figures.panels(grid="both")
    names = {INDEXED: "photos are indexed", AGAIN: "all photos are encoded again"}
    for colour, (way, name) in zip(figures.COLOURS, names.items(), strict=False):
        points = [(r["photos"], r["seconds"][way]["wall"]) for r in result["sizes"]]
        axes.plot(*zip(*points, strict=True), "o-", color=colour, label=name, markersize=4)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("photos")
    axes.set_title("seconds from a new sentence to a ranking")
    axes.legend()
    return figure
