"""Photos per second from the bytes of a JPEG to the index, compared with the frozen tower alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from core.backbones.embedded import EmbeddedBackbone
from core.common import markdown
from core.data.image_io import open_photo
from core.data.read_ahead import BATCH
from core.experiments.bench.context import BenchmarkContext
from core.experiments.bench.sample_jpegs import jpegs
from core.experiments.bench.timing import clocks, in_turn, times_longer
from core.retrieval.gallery import Gallery

SIZES = ((224, 224), (640, 480))
PHOTOS = 4 * BATCH
INDEXED, TOWER = "indexed", "tower"
Files = Sequence[tuple[str, bytes]]


def run(context: BenchmarkContext) -> dict[str, Any]:
    """For each of SIZES (width, height): photos per second of each way, and ratios."""
    backbone, number = context.engine.backbone, min(context.largest, PHOTOS)
    assert isinstance(backbone, EmbeddedBackbone)
    rows = []
    for width, height in SIZES:
        context.log(f"indexing: {number} photos of {width} x {height}")
        figures = _measured(backbone, jpegs(number, (width, height)), context.rounds)
        rows.append({"width": width, "height": height, "photos": number, **figures})
    return {"sizes": rows}


def indexed(backbone: EmbeddedBackbone, files: Files) -> Tensor:
    """Embeddings [n, d] as the app computes them: a new gallery and its zero-shot index."""
    gallery = Gallery(backbone, len(files))
    gallery.add(files)
    return gallery.embeddings()


def _measured(backbone: EmbeddedBackbone, files: Files, rounds: int) -> dict[str, Any]:
    ready = torch.stack([backbone.pixels(open_photo(content, name)) for name, content in files]).split(BATCH)
    ways = {INDEXED: lambda: indexed(backbone, files), TOWER: lambda: [backbone.image_tower(batch) for batch in ready]}
    times = in_turn(ways, rounds)
    return {
        "photos a second": {way: clocks(len(files) / taken.min(0)) for way, taken in times.items()},
        "of the tower": times_longer(times[TOWER], times[INDEXED]),
    }


def findings(result: Mapping[str, Any]) -> list[str]:
    each = [f"{r['photos a second'][INDEXED]['wall']:.0f} ({r['width']} x {r['height']})" for r in result["sizes"]]
    return [f"Photos a second, by the size of the JPEG: {', '.join(each)}."]


def table(result: Mapping[str, Any]) -> str:
    rows = []
    for r in result["sizes"]:
        rates = [f"{r['photos a second'][way]['wall']:.0f}" for way in (INDEXED, TOWER)]
        rows.append(
            [f"{r['width']} x {r['height']}", *rates, f"{r['of the tower']['wall']:.2f} / {r['of the tower']['cpu']:.2f}"]
        )
    head = ["JPEG", "photos / s", "bare tower", "of the tower, by the clock / by processor time"]
    return markdown.table(head, rows)
