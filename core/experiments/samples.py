"""Where does the right sample photo rank, with and without an adapter? This also chooses the questions that the page offers.

The rule was fixed before measuring. Each caption of each sample is a question, with the sentence of its photo's subject. The
page offers the three questions whose photo rises most (first those whose sentence an expert fits), the median, and the one
whose photo falls most. Rise and fall are changes of the reciprocal rank: from 2 to 1 is a larger step than from 20 to 12. The
result of one caption was known while the captions were written: “An animal that runs fast.”
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from core.common import markdown
from core.data.sample_photos import sample_photos
from core.experiments.context import ExperimentContext
from core.retrieval.gallery import ZERO_SHOT, Adapter, Gallery
from core.sglora.request import AdapterRequest

BEST = 3


def run(context: ExperimentContext) -> dict[str, Any]:
    """The rank of every caption's photo, zero-shot and with the adapter of its subject's sentence."""
    engine, samples = context.engine, sample_photos()
    gallery = Gallery(engine.backbone)
    added = gallery.add([sample.path for sample in samples]).added
    keys = {photo.name: photo.id for photo in added}
    adaptations = {subject: engine.adapt(AdapterRequest(subject)) for subject in dict.fromkeys(s.subject for s in samples)}
    adapters = {subject: Adapter.of(adaptation.lora, adaptation.weight) for subject, adaptation in adaptations.items()}
    questions = [
        {
            "query": caption,
            "description": sample.subject,
            "fits": adaptations[sample.subject].fit.fits,
            "photo": sample.name,
            "before": _rank(gallery, caption, ZERO_SHOT, keys[sample.name]),
            "after": _rank(gallery, caption, adapters[sample.subject], keys[sample.name]),
        }
        for sample in samples
        for caption in sample.captions
    ]
    rose, fell = (sum(sign * (q["before"] - q["after"]) > 0 for q in questions) for sign in (1, -1))
    return {"photos": len(samples), "rose": rose, "fell": fell, "questions": questions, "shown": choose(questions)}


def choose(questions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The questions that the page offers: the largest rises (of different photos), the median, and the largest fall.

    Rises whose sentence an expert fits come first, since visitors see the first question first.
    """
    ordered = sorted(questions, key=lambda q: (1 / q["before"] - 1 / q["after"], q["query"]))
    best: dict[str, Mapping[str, Any]] = {}
    for question in ordered:
        best.setdefault(question["photo"], question)
    rises = sorted(list(best.values())[:BEST], key=lambda q: not q["fits"])
    return [*rises, ordered[len(ordered) // 2], ordered[-1]]


def _rank(gallery: Gallery, query: str, adapter: Adapter, key: str) -> int:
    hits = gallery.text_to_image(query, adapter, None).hits
    return next(hit.rank for hit in hits if hit.key == key)


def findings(result: Mapping[str, Any]) -> list[str]:
    pairs = [(q["before"], q["after"]) for q in result["questions"]]
    up, down = result["rose"], result["fell"]
    before, after = (statistics.median(side) for side in zip(*pairs, strict=True))
    means = [statistics.mean(side) for side in zip(*pairs, strict=True)]
    return [
        f"Of {len(pairs)} captions of {result['photos']} sample photos the right photo moves up for {up}, down for {down}, and "
        f"keeps its rank for {len(pairs) - up - down}; median rank {before:g} before and {after:g} after, mean "
        f"{means[0]:.1f} and {means[1]:.1f}.",
        "So few photos are no hard search: these questions show what an adapter does, and prove nothing. The page offers the "
        "three largest rises (first those whose sentence an expert fits), a median one and the largest fall.",
    ]


def table(result: Mapping[str, Any]) -> str:
    shown = [q["query"] for q in result["shown"]]
    rows = [
        [q["query"], q["description"], str(q["before"]), str(q["after"]), "yes" if q["query"] in shown else ""]
        for q in result["questions"]
    ]
    return markdown.table(["question", "sentence", "rank before", "after", "offered"], rows)
