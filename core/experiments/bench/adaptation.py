"""Time from a sentence to an adapter, by step, compared with fine-tuning one expert for the same task."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from core.common import markdown
from core.experiments.bench.context import BenchmarkContext
from core.experiments.bench.sample_jpegs import captioned
from core.experiments.bench.timing import clocks, in_turn, times_longer
from core.retrieval.gallery import Gallery
from core.sglora.request import AdapterRequest
from core.training.own_expert import OwnRecipe, train_own_expert

STEPS = ("encode", "route", "prior", "decode")
TASK = "photos of buildings, animals and things"
SENTENCES = 20  # per round
PHOTOS = 200  # captioned photos of the task: enough for some of them to decide when to stop
ROUNDS = 3  # at most, since fine-tuning is slow


def run(context: BenchmarkContext, photos: int = PHOTOS, recipe: OwnRecipe = OwnRecipe()) -> dict[str, Any]:
    """{"milliseconds" by step, "fine-tuning": {"seconds", "photos"}, "times faster"}."""
    engine = context.engine
    files, captions = captioned(photos)
    gallery = Gallery(engine.backbone, len(files))
    gallery.add(files)
    gallery.set_captions(captions)
    context.log(f"adaptation: fine-tuning on {len(gallery.photos)} photos, {min(context.rounds, ROUNDS)} times")
    number, steps = count(), []

    def sentences() -> None:
        for _ in range(SENTENCES):
            steps.append(engine.adapt(AdapterRequest(f"{TASK}, album {next(number)}")).seconds)

    ways = {"sentence": sentences, "fine-tuning": lambda: train_own_expert(engine, gallery, "task", TASK, recipe=recipe)}
    times = in_turn(ways, min(context.rounds, ROUNDS), warm=False)
    sentence = times["sentence"] / SENTENCES
    return {
        "milliseconds": {
            "adapt": clocks(1000 * sentence.min(0)),
            **{step: round(1000 * min(taken[step] for taken in steps), 3) for step in STEPS},
        },
        "fine-tuning": {"seconds": clocks(times["fine-tuning"].min(0)), "photos": len(gallery.photos)},
        "times faster": times_longer(times["fine-tuning"], sentence),
    }


def findings(result: Mapping[str, Any]) -> list[str]:
    taken, trained, ratio = result["milliseconds"], result["fine-tuning"], result["times faster"]
    return [
        f"From a sentence to an adapter takes {taken['adapt']['wall']:.1f} ms ({taken['adapt']['cpu']:.1f} ms of one core).",
        f"Fine-tuning one expert on {trained['photos']} captioned photos, whose activations are cached already, takes "
        f"{trained['seconds']['wall']:.1f} s: {ratio['wall']:,.0f} times as long, {ratio['cpu']:,.0f} times of a processor.",
    ]


def table(result: Mapping[str, Any]) -> str:
    taken, trained = result["milliseconds"], result["fine-tuning"]["seconds"]
    rows = [[step, f"{taken[step]:.2f}", "", ""] for step in STEPS]
    rows.append(["sentence to adapter", *(f"{taken['adapt'][clock]:.2f}" for clock in ("wall", "cpu")), "1"])
    ratio = f"{result['times faster']['wall']:,.0f}"
    rows.append(["fine-tuning", *(f"{1000 * trained[clock]:,.0f}" for clock in ("wall", "cpu")), ratio])
    return markdown.table(["step", "ms", "processor ms", "times as long"], rows)
