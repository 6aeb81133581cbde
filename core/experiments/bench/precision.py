"""What it costs in recall to keep a photo's activations in fewer bytes, and to compute in fewer bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from core.common.errors import DataError
from core.common.metrics import Relevance, both_directions
from core.data.decode import BATCH
from core.data.image_io import open_photo
from core.data.read_ahead import read_ahead

if TYPE_CHECKING:
    from core.backbones.embedded import EmbeddedBackbone
    from core.data import Sample
    from core.experiments.bench.context import BenchmarkContext

PHOTOS = 1_000
KS = ("R@1", "R@5", "R@10")


def to_int8(maps: Tensor) -> Tensor:
    """Maps [n, t, c] as they come back from a byte a number and a float16 scale for each of the t positions."""
    scale = (maps.float().abs().amax(-1, keepdim=True) / 127).clamp_min(1e-6).half().float()
    return (maps.float() / scale).round().clamp(-127, 127).mul(scale)


def recalls(context: BenchmarkContext, photos: int = PHOTOS) -> dict[str, Any]:
    """Zero-shot recall on a data folder's captioned photos, by how their activations are kept.

    "float32" is tower and head in float32, nothing rounded. The others are rounded from what this machine's tower gives:
    "float16" is what the app does; in "float16, float32 head" only the head is spared.

    Raises:
        DataError: no captioned photos in the data folder.
    """
    from core.data import data_folders, read_folder

    assert context.data is not None
    folder, samples = "", []
    for place in data_folders(context.data):
        found = [s for s in read_folder(place) if s.captions]
        samples_here = [s for s in found if s.split in ("val", "test")] or found
        if len(samples_here) > len(samples):
            folder, samples = place.name, samples_here
    if not samples:
        raise DataError(f"{context.data} holds no captioned photos, and recall needs some.")
    samples = samples[: min(photos, context.largest)]
    context.log(f"recall on {len(samples)} photos of {folder}")
    backbone = context.engine.backbone
    relevance = Relevance.of([s.captions for s in samples])
    texts = backbone.encode_text(relevance.texts)
    exact, kept = _maps(backbone, samples)  # type: ignore[arg-type]
    shape = backbone.prefix_shape
    numbers, positions = shape[0] * shape[1], shape[0]
    reference = _exact_head(backbone, exact)  # type: ignore[arg-type]
    variants: dict[str, tuple[int, Tensor]] = {
        "float32": (4 * numbers, reference),
        "float16, float32 head": (2 * numbers, _exact_head(backbone, kept)),  # type: ignore[arg-type]
        "float16": (2 * numbers, backbone.suffix(kept)),
        "int8": (numbers + 2 * positions, backbone.suffix(to_int8(kept))),
    }
    rows = {}
    for name, (size, images) in variants.items():
        measured = both_directions(images, texts, relevance)
        rows[name] = {
            "bytes": size,
            **measured,
            "mean R@1, R@5, R@10": sum(measured[way][k] for way in measured for k in KS) / (len(measured) * len(KS)),
            "smallest cosine": float((images * reference).sum(-1).min()),
        }
    return {"folder": folder, "photos": len(samples), "texts": len(relevance.texts), "kept as": rows}


@torch.no_grad()
def _exact_head(backbone: EmbeddedBackbone, maps: Tensor) -> Tensor:
    return torch.cat([backbone.vision(part.float()) for part in maps.split(BATCH)])


def _maps(backbone: EmbeddedBackbone, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Maps [n, t, c] of the tower in float32, and as the cache keeps them (float16)."""
    tower = backbone.image_tower.model
    exact, kept = [], []
    for read in read_ahead(samples, lambda sample: backbone.pixels(open_photo(sample.path))):
        batch = torch.stack([pixels for _, pixels in read])
        with torch.no_grad():
            x = batch.contiguous(memory_format=torch.channels_last)
            exact.append(tower.blocks(tower.bn1(tower.conv_stem(x))).flatten(2).transpose(1, 2).contiguous())
        kept.append(backbone.prefix(batch))
    return torch.cat(exact), torch.cat(kept)
