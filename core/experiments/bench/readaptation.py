"""A new sentence for photos that are indexed already, against encoding them all again; and what the cache takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from core.common import markdown
from core.experiments import figures
from core.experiments.bench import baselines, sample_jpegs
from core.experiments.bench.precision import recalls
from core.experiments.bench.timing import in_turn
from core.retrieval.gallery import Adapter, Gallery
from core.retrieval.index import Index

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from core.experiments.bench.context import BenchmarkContext

SIZES = (100, 1_000, 5_000)
QUERY = "a tower at dusk"
CACHED, ANEW = "cached", "anew"
AIM_BYTES = 32_000


def run(context: BenchmarkContext, size: tuple[int, int] = sample_jpegs.PHOTO) -> dict[str, Any]:
    """For each gallery: from a sentence to a ranking with and without the cache; bytes a photo; recall where there is data.

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

        def anew(files: Sequence[tuple[str, bytes]] = files) -> None:
            lora = sentence().lora
            rows = baselines.encoded_again(backbone, files, lora)
            Index(rows).search(backbone.encode_text([QUERY], lora)[0], 10)

        variants = {CACHED: lambda: gallery.text_to_image(QUERY, sentence()), ANEW: anew}
        # Encoding thousands of photos again takes minutes, and is long enough not to need repeating.
        rounds = context.rounds if n <= SIZES[0] else min(context.rounds, 2)
        times = in_turn(variants, rounds, warm=n == sizes[0])
        rows.append(
            {
                "photos": n,
                "rounds": rounds,
                "seconds": {way: {clock: v / 1000 for clock, v in taken.best().items()} for way, taken in times.items()},
                "times faster": times[ANEW].over(times[CACHED]),
            }
        )
    return {
        "jpeg": list(size),
        "sizes": rows,
        "bytes a photo": 2 * math.prod(backbone.prefix_shape),
        "recall": recalls(context) if context.data is not None else None,
    }


def findings(result: Mapping[str, Any]) -> list[str]:
    """How much the cache saves, in time and for how much memory."""
    said = [
        f"{r['photos']:,} photos: {r['seconds'][CACHED]['wall']:.2f} s from a new sentence to a ranking, "
        f"{r['times faster']['wall']:.1f} times as fast as encoding all again ({r['times faster']['cpu']:.1f} times by "
        "processor time)."
        for r in result["sizes"]
    ]
    size = result["bytes a photo"]
    said.append(f"What is kept of a photo takes {size:,} bytes ({size / 1024:.1f} KiB).")
    if result["recall"] is not None:
        found = result["recall"]["kept as"]
        lost = {name: row["mean R@1, R@5, R@10"] - found["float32"]["mean R@1, R@5, R@10"] for name, row in found.items()}
        said.append(
            f"On {result['recall']['photos']:,} captioned photos, recall (mean of R@1, R@5 and R@10, both directions) changes "
            "by " + ", ".join(f"{lost[name]:+.2f} with {name}" for name in found if name != "float32") + "."
        )
    return said


def table(result: Mapping[str, Any]) -> str:
    """Seconds for each gallery; recall and bytes for each way to keep the cache."""
    rows = [
        [
            f"{r['photos']:,}",
            *(f"{r['seconds'][way]['wall']:.2f}" for way in (CACHED, ANEW)),
            *(f"{r['seconds'][way]['cpu']:.2f}" for way in (CACHED, ANEW)),
            f"{r['times faster']['wall']:.1f} / {r['times faster']['cpu']:.1f}",
            f"{r['photos'] * result['bytes a photo'] / 1e6:,.0f}",
        ]
        for r in result["sizes"]
    ]
    head = ["photos", "cached, s", "again, s", "cached, processor s", "again, processor s", "times faster", "cache, MB"]
    text = f"{markdown.table(head, rows)}\n\nTimes faster by the clock / by processor time."
    if result["recall"] is None:
        return text
    return f"{text}\n\n{_recall_table(result['recall'])}"


def _recall_table(found: Mapping[str, Any]) -> str:
    ks = ("R@1", "R@5", "R@10")
    rows: list[Sequence[str]] = []
    for name, row in found["kept as"].items():
        both = [" / ".join(f"{row[way][k]:.1f}" for way in ("i2t", "t2i")) for k in ks]
        rows.append([name, f"{row['bytes']:,}", *both, f"{row['smallest cosine']:.4f}"])
    head = ["photos kept as", "bytes", *(f"{k} (I2T / T2I)" for k in ks), "smallest cosine to float32"]
    return f"{found['photos']:,} photos of {found['folder']}, zero-shot:\n\n{markdown.table(head, rows)}"


def plot(result: Mapping[str, Any]) -> Figure:
    """Seconds over photos, both on logarithmic axes."""
    figure, (axes,) = figures.panels(grid="both")
    names = {CACHED: "from cached activations", ANEW: "all photos again"}
    for colour, (way, name) in zip(figures.COLOURS, names.items(), strict=False):
        points = [(r["photos"], r["seconds"][way]["wall"]) for r in result["sizes"]]
        axes.plot(*zip(*points, strict=True), "o-", color=colour, label=name, markersize=4)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("photos")
    axes.set_title("seconds from a new sentence to a ranking")
    axes.legend()
    return figure
