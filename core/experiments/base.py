"""How good is the base by itself? Zero-shot recall on captioned photos that it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from core.common import markdown
from core.common.metrics import KS, measure
from core.experiments import figures
from core.experiments.context import ExperimentContext
from core.training.backbone import evaluation_sets
from core.training.features import text_prefixes

WAYS = {"i2t": "photo to caption", "t2i": "caption to photo"}


def run(context: ExperimentContext) -> dict[str, Any]:
    """{"flickr8k val": {"images": n, "i2t": {"R@1": …}, "t2i": {…}}, …} in percent; each set is its own gallery."""
    result = {}
    for name, chosen in evaluation_sets(context.data, context.cache, context.log, context.backbone).items():
        images = context.backbone.suffix(chosen.maps)
        read = text_prefixes(chosen.relevance.texts, context.cache, context.log, context.backbone)
        texts = context.backbone.text_suffix(read)
        result[name] = measure(images, texts, chosen.relevance)
    return result


def findings(result: Mapping[str, Any]) -> list[str]:
    """R@10 of every set, beside chance."""
    return [
        f"{name}: with {v['images']} photos to choose from, the right one is among the first ten for "
        f"{v['t2i']['R@10']:.0f} of 100 captions (by chance for {1000 / v['images']:.1f})."
        for name, v in result.items()
    ]


def table(result: Mapping[str, Any]) -> str:
    """Recall of every set."""
    rows = [
        [name, str(v["images"]), *(" / ".join(f"{v[way][f'R@{k}']:.1f}" for way in WAYS) for k in KS)]
        for name, v in result.items()
    ]
    return markdown.table(["photos", "gallery", "R@1 (I2T / T2I)", "R@5", "R@10"], rows)


def plot(result: Mapping[str, Any]) -> Figure:
    """R@1, R@5 and R@10 of every set, a panel each way."""
    figure, axes = figures.panels(len(WAYS), 2.4)
    width = 0.8 / len(KS)
    for panel, (way, title) in zip(axes, WAYS.items(), strict=True):
        for i, k in enumerate(KS):
            places = [place + (i - 1) * width for place in range(len(result))]
            panel.bar(places, [v[way][f"R@{k}"] for v in result.values()], width, label=f"R@{k}", color=figures.COLOURS[i])
        panel.set_xticks(range(len(result)), [name.replace(" ", "\n", 1) for name in result])
        panel.set_title(f"{title}, recall in percent")
    axes[0].legend(ncols=len(KS))
    return figure
