"""What does the wording of a sentence cost? The same photos, described in 1 to 40 words, and well or badly.

All sentences are written by hand, before any was measured. Longer ones continue shorter ones; their lengths are exact within
a tenth. "wrong" is the 8-word sentence of a task from the other half of the list.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from core.common import markdown
from core.common.paths import data_of
from core.experiments import runner, statistics
from core.experiments.context import ExperimentContext
from core.experiments.held_tasks import HeldTask
from core.sglora.request import AdapterRequest

_WRITTEN = data_of(__file__)
# task -> wording -> sentence
TASKS: Mapping[str, Mapping[str, str]] = {**_WRITTEN[runner.SCENES], **_WRITTEN[runner.SPECIAL]}
VAGUE: list[str] = _WRITTEN["vague"]  # used in rotation
LENGTHS = ("1 word", "3 words", "8 words", "20 words", "40 words")
REFERENCE, WRONG = "8 words", "wrong"
OTHERS = ("specific", "ambiguous", "incomplete", "vague", WRONG)


def sentences(task: str) -> dict[str, str]:
    names = list(TASKS)
    number = names.index(task)
    other = names[(number + len(names) // 2) % len(names)]
    return {**TASKS[task], "vague": VAGUE[number % len(VAGUE)], WRONG: TASKS[other][REFERENCE]}


def run(context: ExperimentContext) -> dict[str, Any]:
    """Recall with each wording, and what the reference has above it, paired by task."""
    engine = context.engine

    def variants(task: HeldTask) -> Iterable[runner.Variant]:
        for wording, sentence in sentences(task.name).items():
            adaptation = engine.adapt(AdapterRequest(sentence))
            yield {"variant": wording, "fits": adaptation.fits}, adaptation.full
            if wording == REFERENCE:
                yield from runner.controls(engine, adaptation)

    known = runner.known_tasks(context.corpus)
    tasks = {group: [task for task in listed if task.name in _WRITTEN[group]] for group, listed in known.items()}
    rows = runner.measured(context, "descriptions", tasks, variants)
    groups, wordings = statistics.grouped(rows, "group"), statistics.grouped(rows, "variant")
    return {
        "groups": statistics.summary(rows, REFERENCE),
        "wrong minus one-lora": {g: statistics.difference(own, WRONG, "one-lora", "R@1") for g, own in groups.items()},
        "notices": {
            name: round(100 * float(np.mean([not row["fits"] for row in wordings[name]])), 1) for name in (*LENGTHS, *OTHERS)
        },
    }


def findings(result: Mapping[str, Any]) -> list[str]:
    nothing = [f"{markdown.difference(v)} ({group})" for group, v in result["wrong minus one-lora"].items()]
    notices = ", ".join(f"{name} {share:.0f} %" for name, share in result["notices"].items())
    return [
        f"A wrong sentence minus no sentence, one LoRA for everything: {' and '.join(nothing)}.",
        f"Sentences with a notice that no expert fits: {notices}.",
    ]
