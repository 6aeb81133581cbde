"""What suggested sentences find in galleries of validation photos: special domains, everyday scenes, and COCO.

    python benchmarks/suggestions.py data

It prints a line for each gallery: the share of its photos that are closest to an everyday scene, the points of R@10 that the
suggestion brings over search without a sentence, and the suggestion.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).parents[1]))

from core.backbones import load_backbone
from core.common.paths import default_cache
from core.experiments.context import ExperimentContext
from core.experiments.held_tasks import captioned_domain_tasks, scene_tasks
from core.experiments.statistics import both_ways
from core.retrieval.popularity import spread_rows
from core.retrieval.suggest import MOST_PHOTOS, Look
from core.sglora.repository import EVERYDAY
from core.sglora.request import AdapterRequest
from core.training.corpus import Corpus

FEWEST, DRAWS = 5, (30, 60, 100, 200)  # photos of a gallery; sizes of random everyday galleries


def galleries(corpus: Corpus) -> Iterator[tuple[str, str, np.ndarray]]:
    """(kind, name, rows) of the galleries of validation photos."""
    held, rng = corpus.validation, np.random.default_rng(0)
    for domain in sorted({*corpus.domains.tolist()} - {""}):
        yield "domain", domain, np.flatnonzero((corpus.domains == domain) & held)
    for kind, tasks in (("domain", captioned_domain_tasks(corpus)), ("everyday", scene_tasks(corpus))):
        for task in tasks:
            yield kind, task.name, task.rows[held[task.rows]]
    yield "everyday", "all", (everyday := np.flatnonzero(corpus.scenes & held))
    for size in 3 * DRAWS:
        yield "everyday", f"{size} of all", rng.choice(everyday, size, replace=False)


def main(data: Path) -> None:
    context = ExperimentContext(data, default_cache(), load_backbone(), lambda _: None)
    coco = replace(context, data=data / "coco")
    found = [(context.corpus, *gallery) for gallery in galleries(context.corpus)]
    everything = np.arange(len(coco.corpus))
    found += [(coco.corpus, "COCO", f"{n}", np.random.default_rng(1).choice(everything, n, replace=False)) for n in DRAWS]
    for corpus, kind, name, rows in found:
        if len(rows) < FEWEST:
            continue
        photos = corpus.base[torch.from_numpy(rows[spread_rows(len(rows), MOST_PHOTOS)])]
        look = Look.of(context.engine.repository, photos)
        assert look is not None
        closest = [look.experts[i].group for i in look.closeness.argmax(1).tolist()]
        share = f"{closest.count(EVERYDAY) / len(closest):4.0%}"
        if (expert := look.suggested) is None:
            print(f"{kind:9}{name:18}{len(rows):5}  {share}  none")
            continue
        loras = context.backbone.shared, context.engine.adapt(AdapterRequest(expert.description)).full
        without, adapted = (both_ways(corpus.recalls(rows, lora))["R@10"] for lora in loras)
        print(f"{kind:9}{name:18}{len(rows):5}  {share}  {adapted - without:+5.1f}  {expert.description}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
