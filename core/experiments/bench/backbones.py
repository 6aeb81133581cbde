"""How fast is a ViT-B/16 as open_clip runs it, with its attention split, and when only the adapted blocks run again?

The weights are random: time depends on their number alone, and no model hub is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from core.common import markdown
from core.experiments.bench.timing import in_turn

if TYPE_CHECKING:
    from core.experiments.bench.context import BenchmarkContext

MODEL = "ViT-B-16"
PHOTOS = 8
ADAPTED = (6, 3, 1)  # blocks at the end, beside all of them
PLAIN, SPLIT, ADAPT, SUFFIX = "plain open_clip", "split", "split, with a LoRA", "suffix only"


def run(context: BenchmarkContext, model: str = MODEL, photos: int = PHOTOS) -> dict[str, Any]:
    """Milliseconds per photo from pixels (or, for the suffix, from cached activations) to embeddings.

    Args:
        model: a name of open_clip. photos: in one batch.
    """
    import open_clip
    import torch

    from core.backbones.base import TwoTowers
    from core.backbones.lora import Lora, LoraLayout
    from core.backbones.vit import LORA_RANK, AdaptedTower, PlainViT

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain: Any = open_clip.create_model(model).float().eval().requires_grad_(False)
    vit = PlainViT.of(plain.visual)
    blocks = len(vit.blocks)
    towers = {n: AdaptedTower(vit, n).eval().requires_grad_(False) for n in (blocks, *ADAPTED) if n <= blocks}
    stems = {n: vit.prefix(tower.cut) for n, tower in towers.items()}
    whole, stem = towers[blocks], stems[blocks]
    side = open_clip.get_model_preprocess_cfg(plain)["size"]
    height, width = (side, side) if isinstance(side, int) else side
    pixels = torch.randn(photos, 3, height, width, generator=torch.Generator().manual_seed(0))
    linears = TwoTowers(torch.nn.Identity(), whole, whole.patches).linears("vision.")
    layouts = {n: LoraLayout.of(linears, tower.usual, LORA_RANK) for n, tower in towers.items()}
    loras = {n: Lora.from_vector(layout, 0.02 * torch.randn(layout.size)) for n, layout in layouts.items()}
    context.log(f"{model}: {photos} photos, each way {context.rounds} times")
    with torch.no_grad():
        cached = {n: part(pixels).half() for n, part in stems.items()}
        difference = (whole(stem(pixels)) - plain.encode_image(pixels, normalize=True)).abs().max()
        variants = {
            PLAIN: lambda: plain.encode_image(pixels, normalize=True),
            SPLIT: lambda: whole(stem(pixels)),
            ADAPT: lambda: whole(stem(pixels), loras[blocks]),
            **{f"{SUFFIX} {n}": lambda n=n: towers[n](cached[n].float(), loras[n]) for n in towers},
        }
        times = in_turn(variants, context.rounds)
    rows = [
        {
            "path": SUFFIX if name.startswith(SUFFIX) else name,
            "blocks": int(name.split()[-1]) if name.startswith(SUFFIX) else blocks,
            "milliseconds": taken.best(photos),
            "share": taken.over(times[PLAIN]),
        }
        for name, taken in times.items()
    ]
    return {
        "model": model,
        "photos": photos,
        "blocks": blocks,
        "parameters": {str(n): lora.parameters for n, lora in loras.items()},
        "kilobytes of a cached photo": round(cached[blocks][0].nbytes / 1000, 1),
        "largest difference of an embedding": float(difference),
        "rows": rows,
    }


def findings(result: Mapping[str, Any]) -> list[str]:
    """What the split costs, and what the prefix cache saves."""
    share = {(row["path"], row["blocks"]): row["share"]["cpu"] for row in result["rows"]}
    blocks, last = result["blocks"], min(row["blocks"] for row in result["rows"])
    return [
        f"With its fused projection split, {result['model']} takes {share[SPLIT, blocks]:.2f} times as long as open_clip's own "
        f"forward, with a LoRA in all {blocks} blocks {share[ADAPT, blocks]:.2f} times; no number of an embedding differs by "
        f"more than {result['largest difference of an embedding']:.0e}.",
        f"From cached activations, a new LoRA in the last {last} of {blocks} blocks costs {share[SUFFIX, last]:.2f} of a whole "
        f"forward, in all blocks {share[SUFFIX, blocks]:.2f}. A photo's activations take "
        f"{result['kilobytes of a cached photo']:.0f} kB.",
    ]


def table(result: Mapping[str, Any]) -> str:
    """A row per way to an embedding."""
    rows = [
        [
            row["path"],
            f"{row['blocks']} of {result['blocks']}" if row["path"] in (ADAPT, SUFFIX) else "",
            f"{result['parameters'][str(row['blocks'])]:,}" if row["path"] in (ADAPT, SUFFIX) else "",
            f"{row['milliseconds']['wall']:.1f}",
            f"{row['milliseconds']['cpu']:.1f}",
            f"{row['share']['cpu']:.2f}",
        ]
        for row in result["rows"]
    ]
    head = ["way to an embedding", "blocks with a LoRA", "LoRA parameters", "ms a photo", "processor ms", "of plain open_clip"]
    return markdown.table(head, rows)
