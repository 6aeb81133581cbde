"""Does search work in other languages? Translations of the same captions search for the same photos.

German and French captions of training photos train the shared LoRA and the experts; these and Czech ones train the maps toward
English. The text tower does not know Czech.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.common.metrics import Relevance
from core.data.jsonl import read_translations
from core.experiments import statistics
from core.experiments.context import ExperimentContext
from core.experiments.folds import FOLDS, prepare_fold
from core.experiments.held_tasks import HeldTask, scene_tasks
from core.experiments.known import EVERYDAY_DESCRIPTION
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest
from core.training.corpus import LANGUAGES, TRANSLATIONS, Corpus
from core.training.translations import as_typed

FEWEST = 10  # photos of a task with captions in all languages
EVERYDAY, KNOWN, UNSEEN = "everyday photos", "known scenes", "unseen scenes"
METHODS = ("zero-shot", "SG-LoRA")
GROUPS = tuple(f"{group}, {method}" for group in (EVERYDAY, KNOWN, UNSEEN) for method in METHODS)
Row = dict[str, Any]


def run(context: ExperimentContext) -> dict[str, Any]:
    """Recalls of every task in every language, zero-shot and adapted, and the gap to English."""
    corpus = context.corpus
    translations = read_translations(context.data / TRANSLATIONS, tuple(LANGUAGES))
    everyday = np.flatnonzero(corpus.scenes & corpus.test)
    whole = HeldTask("everyday", EVERYDAY_DESCRIPTION, "scenes", everyday, everyday)
    rows = _rows(EVERYDAY, whole, corpus, context.engine, translations)
    for task in scene_tasks(corpus):
        rows += _rows(KNOWN, task, corpus, context.engine, translations)
    for fold in range(FOLDS):
        prepared = prepare_fold(context, fold)
        for task in prepared.held:
            if task.group == "scenes":
                rows += _rows(UNSEEN, task, prepared.corpus, prepared.engine, translations)
    return {"rows": rows, "groups": statistics.summary(rows, GROUPS, "English")}


def _rows(group: str, task: HeldTask, corpus: Corpus, engine: SGLora, translations: Mapping[str, tuple[str, ...]]) -> list[Row]:
    """One row per language and method; none if too few photos have captions in all languages."""
    keys = {int(row): corpus.image(row) for row in task.test}
    photos = [row for row, key in keys.items() if key in translations and all(translations[key])]
    if len(photos) < FEWEST:
        return []
    adapted = engine.adapt(AdapterRequest(task.description)).lora
    captions = dict(zip(LANGUAGES.values(), zip(*(translations[keys[row]] for row in photos), strict=True), strict=True))
    captions |= {"German in lower case": as_typed(captions["German"])}
    rows = []
    for language, texts in captions.items():
        relevance = Relevance.of([(text,) for text in texts])
        prefixes = corpus.backbone.text_prefix(relevance.texts)
        for method, lora in zip(METHODS, (None, adapted), strict=True):
            recalls = corpus.gallery_recalls(np.array(photos), relevance, prefixes, lora)
            about = {"group": f"{group}, {method}", "task": task.name, "variant": language, "photos": len(photos)}
            rows.append({**about, **statistics.both_ways(recalls)})
    return rows


def findings(result: Mapping[str, Any]) -> list[str]:
    sentences = []
    for group in GROUPS:
        if group in result["groups"] and group.endswith(METHODS[1]):
            methods = result["groups"][group]["methods"]
            means = ", ".join(f"{name} {values['mean']['R@10']:.1f}" for name, values in methods.items())
            sentences.append(f"{group}: R@10 is {means}.")
    return sentences


def table(result: Mapping[str, Any]) -> str:
    return statistics.summary_table(result["groups"], "English")
