"""The frozen image tower through torch and through OpenVINO: how fast, and whether photos come out the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.backbones.frozen_towers import TOWER_BATCH, ImageTower
from core.common import markdown
from core.data.image_io import open_photo
from core.experiments.bench import sample_jpegs
from core.experiments.bench.timing import in_turn

if TYPE_CHECKING:
    from core.experiments.bench.context import BenchmarkContext

PHOTOS, TIMED, TOP = 256, 32, 10
FLOAT32, BFLOAT16, OPENVINO = "torch, float32", "torch, bfloat16", "OpenVINO, float32"


def run(context: BenchmarkContext) -> dict[str, Any]:
    """{"photos", "used", "ways": {way: {"milliseconds", "times float32", "distance", "same"}}}.

    distance: 1 - cosine of final embeddings to those of float32, mean and largest. same: percent of most similar photos.
    """
    backbone: Any = context.engine.backbone
    photos = min(context.largest, PHOTOS)
    files = sample_jpegs.jpegs(photos, (224, 224))
    pixels = torch.stack([backbone.pixels(open_photo(content, name)) for name, content in files])
    exact, fast = ImageTower(engine="torch"), ImageTower()
    rounded = copy.deepcopy(exact.body).bfloat16()

    @torch.no_grad()
    def bfloat16(batch: Tensor) -> Tensor:
        parts = batch.bfloat16().contiguous(memory_format=torch.channels_last).split(TOWER_BATCH)
        return torch.cat([rounded(part).flatten(2).transpose(1, 2).half() for part in parts])

    ways: dict[str, Callable[[Tensor], Tensor]] = {FLOAT32: exact, BFLOAT16: bfloat16}
    if fast.engine == "openvino":
        ways[OPENVINO] = fast
    context.log(f"encoder: {', '.join(ways)}; {TIMED} photos a round")
    times = in_turn({way: lambda run=run: run(pixels[:TIMED]) for way, run in ways.items()}, context.rounds)
    embeddings = {way: _embedded(backbone, run(pixels)) for way, run in ways.items()}
    reference = embeddings[FLOAT32]
    rows = {}
    for way, found in embeddings.items():
        distances = 1 - (F.normalize(found, dim=-1) * F.normalize(reference, dim=-1)).sum(-1)
        rows[way] = {
            "milliseconds": times[way].best(len(pixels[:TIMED])),
            "times float32": times[FLOAT32].over(times[way]),
            "distance": {"mean": max(0.0, float(distances.mean())), "largest": max(0.0, float(distances.max()))},
            "same": _same(found, reference),
        }
    return {"photos": photos, "used": fast.engine, "ways": rows}


@torch.no_grad()
def _embedded(backbone: Any, maps: Tensor) -> Tensor:
    """[n, d] by the head in float32, as float64, so that only the tower makes a difference."""
    return backbone.adapted.vision(maps.float()).double()


def _same(found: Tensor, reference: Tensor) -> float:
    """Of the most similar photos of each photo, how many percent are the same."""
    top = [(rows @ rows.T).fill_diagonal_(-2).topk(min(TOP, len(rows) - 1)).indices.tolist() for rows in (found, reference)]
    shared = [len(set(a) & set(b)) / len(a) for a, b in zip(*top, strict=True)]
    return round(100 * sum(shared) / len(shared), 2)


def findings(result: Mapping[str, Any]) -> list[str]:
    """What each way gains and changes."""
    lines = []
    for way, row in result["ways"].items():
        if way != FLOAT32:
            gain, distance = row["times float32"], row["distance"]
            lines.append(
                f"{way}: {gain['cpu']:.1f} times as fast as torch in float32 by processor time ({gain['wall']:.1f} by clock), "
                f"{row['milliseconds']['cpu']:.1f} ms a photo. Embeddings differ by {distance['mean']:.0e} (1 - cosine, mean), "
                f"{distance['largest']:.0e} at most; {row['same']:.1f} % of the ten most similar photos are the same."
            )
    return lines


def table(result: Mapping[str, Any]) -> str:
    """A row a way."""
    head = [
        "tower",
        "processor ms a photo",
        "ms by the clock",
        "times torch float32",
        "1 - cosine, mean",
        "largest",
        "same top ten, %",
    ]
    rows = []
    for way, row in result["ways"].items():
        times, distance = row["milliseconds"], row["distance"]
        figures = [f"{times['cpu']:.2f}", f"{times['wall']:.2f}", f"{row['times float32']['cpu']:.2f}"]
        rows.append([way, *figures, f"{distance['mean']:.0e}", f"{distance['largest']:.0e}", f"{row['same']:.1f}"])
    return markdown.table(head, rows)
