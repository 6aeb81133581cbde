"""Resident memory at the start, with photos and after many visits, and how long a cold start takes.

Each number comes from a process of its own: what one measurement leaves behind would be counted in the next.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.common import markdown
from core.experiments import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from core.experiments.bench.context import BenchmarkContext

GALLERIES = (500, 5_000)
VISITS, VISIT_PHOTOS = 200, 10
STARTS = 3
PATIENCE_SECONDS = 3_600


def run(
    context: BenchmarkContext, sizes: Sequence[int] = GALLERIES, visits: int = VISITS, photos: int = VISIT_PHOTOS
) -> dict[str, Any]:
    """{"start": {…}, "galleries": [{"photos", "megabytes", …}], "visits": {…}}; megabytes are 10^6 bytes.

    Args:
        sizes: of galleries. visits: how many visitors come and go, one after the other. photos: of each.
    """
    context.log("memory: cold starts")
    starts = [_child() for _ in range(min(context.rounds, STARTS))]
    fastest = min(starts, key=lambda s: s["ready"])
    galleries = []
    for n in context.sizes(*sizes):
        context.log(f"memory: {n:,} photos")
        galleries.append(_child("--photos", str(n))["gallery"])
    context.log(f"memory: {visits} visits")
    return {
        "start": {
            "seconds to the models": fastest["ready"],
            "seconds of which importing": fastest["imported"],
            "seconds to the first adapter": fastest["adapted"],
            "megabytes": fastest["megabytes"],
        },
        "galleries": galleries,
        "visits": _child("--visits", str(visits), "--photos", str(photos))["visits"],
    }


def _child(*arguments: str) -> dict[str, Any]:
    """What ``core.experiments.bench.memory_worker`` says, in a new process."""
    command = [sys.executable, "-m", "core.experiments.bench.memory_worker", "--began", repr(time.time()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, cwd=_root())
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr}")
    return json.loads(done.stdout)


def _root() -> str:
    from core.common.paths import ROOT

    return str(ROOT)


def findings(result: Mapping[str, Any]) -> list[str]:
    """Start, growth, and what is left after the visits."""
    start, visits = result["start"], result["visits"]
    said = [
        f"A cold start takes {start['seconds to the models']:.1f} s until both towers, the experts and the generator are there "
        f"({start['seconds of which importing']:.1f} s of it importing libraries), "
        f"{start['seconds to the first adapter']:.1f} s until the first adapter is, and {start['megabytes']:,.0f} MB of memory."
    ]
    for r in result["galleries"]:
        grown = 1000 * (r["megabytes"] - start["megabytes"]) / r["photos"]
        said.append(
            f"With {r['photos']:,} photos it is {r['megabytes']:,.0f} MB, {grown:.0f} kB a photo, of which activations, "
            f"thumbnail and the embeddings of two adapters are {r['kilobytes a photo']:.0f}."
        )
    tenth, last = visits["megabytes"][len(visits["megabytes"]) // 10], visits["megabytes"][-1]
    said.append(
        f"{visits['visits']} visitors one after the other, each with {visits['photos']} photos, an adapter and a search: "
        f"{tenth:,.0f} MB after a tenth of them, {last:,.0f} MB in the end."
    )
    return said


def table(result: Mapping[str, Any]) -> str:
    """Megabytes by what is there."""
    rows = [["models loaded, first adapter made", f"{result['start']['megabytes']:,.0f}"]]
    rows += [[f"{r['photos']:,} photos, two adapters", f"{r['megabytes']:,.0f}"] for r in result["galleries"]]
    visits = result["visits"]
    rows.append([f"after {visits['visits']} visits of {visits['photos']} photos", f"{visits['megabytes'][-1]:,.0f}"])
    return markdown.table(["", "resident, MB"], rows)


def plot(result: Mapping[str, Any]) -> Figure:
    """Resident memory over photos, and over visits."""
    figure, (photos, visits) = figures.panels(2, height=2.6)
    points = [(0, result["start"]["megabytes"]), *((r["photos"], r["megabytes"]) for r in result["galleries"])]
    photos.plot(*zip(*points, strict=True), "o-", color=figures.ACCENT, markersize=4)
    photos.set_xlabel("photos")
    photos.set_title("resident memory, MB")
    seen = result["visits"]["megabytes"]
    visits.plot(range(1, len(seen) + 1), seen, color=figures.SECOND)
    visits.set_xlabel("visits, one after the other")
    for axes in (photos, visits):
        axes.set_ylim(0)
    return figure
