"""Photos per second from the bytes of a JPEG to the index, compared with the frozen tower alone and with a naive script."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import faiss
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.backbones.embedded import EmbeddedBackbone
from core.backbones.frozen_towers import MEAN, STD
from core.common import markdown
from core.common.images import SIDE
from core.data.image_io import open_photo
from core.data.read_ahead import BATCH
from core.experiments.bench.context import BenchmarkContext
from core.experiments.bench.sample_jpegs import jpegs
from core.experiments.bench.timing import clocks, in_turn, times_longer
from core.retrieval.gallery import Gallery

SIZES = ((224, 224), (640, 480))
PHOTOS = 4 * BATCH
INDEXED, TOWER, NAIVE = "indexed", "tower", "naive"
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


def naive(backbone: EmbeddedBackbone) -> Callable[[Files], Tensor]:
    """A naive script: EfficientNet-Lite0 in torch's default memory format, one photo after the other.

    Returns a function from files to embeddings [n, d], read back from a FAISS index that grows photo by photo.
    """
    tower: Any = copy.deepcopy(backbone.image_tower.body)
    tower.to(memory_format=torch.contiguous_format)
    head = backbone.adapted.vision

    @torch.no_grad()
    def run(files: Files) -> Tensor:
        index = faiss.IndexFlatIP(backbone.dim)
        for _, content in files:
            image = Image.open(io.BytesIO(content)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            values = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().contiguous()
            x = tower((values / 255 - MEAN).div(STD).unsqueeze(0))
            index.add(head(x.flatten(2).transpose(1, 2)).numpy())
        return torch.from_numpy(index.reconstruct_n(0, len(files)))

    return run


def _measured(backbone: EmbeddedBackbone, files: Files, rounds: int) -> dict[str, Any]:
    ready = torch.stack([backbone.pixels(open_photo(content, name)) for name, content in files]).split(BATCH)
    script = naive(backbone)
    ways = {
        INDEXED: lambda: indexed(backbone, files),
        TOWER: lambda: [backbone.image_tower(batch) for batch in ready],
        NAIVE: lambda: script(files),
    }
    times = in_turn(ways, rounds)
    return {
        "photos a second": {way: clocks(len(files) / taken.min(0)) for way, taken in times.items()},
        "of the tower": times_longer(times[TOWER], times[INDEXED]),
        "times naive": times_longer(times[NAIVE], times[INDEXED]),
    }


def findings(result: Mapping[str, Any]) -> list[str]:
    return [
        f"JPEGs of {r['width']} x {r['height']}: {r['photos a second'][INDEXED]['wall']:.0f} photos a second, "
        f"{r['of the tower']['wall']:.2f} of the bare tower on ready tensors, and {r['times naive']['wall']:.1f} times the "
        f"first script (by processor time {r['of the tower']['cpu']:.2f} and {r['times naive']['cpu']:.1f})."
        for r in result["sizes"]
    ]


def table(result: Mapping[str, Any]) -> str:
    rows = []
    for r in result["sizes"]:
        rates = [f"{r['photos a second'][way]['wall']:.0f}" for way in (INDEXED, TOWER, NAIVE)]
        ratios = [f"{r[key]['wall']:.2f} / {r[key]['cpu']:.2f}" for key in ("of the tower", "times naive")]
        rows.append([f"{r['width']} x {r['height']}", *rates, *ratios])
    head = ["JPEG", "photos / s", "bare tower", "naive", "of the tower", "times naive"]
    return f"{markdown.table(head, rows)}\n\nRatios by the clock / by processor time."
