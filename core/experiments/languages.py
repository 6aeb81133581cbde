"""Does search work in other languages? Translations of captions, the Chinese ones by machine, search for the same photos."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from core.common.metrics import Relevance
from core.data.jsonl import Translation, read_translations
from core.experiments import statistics
from core.experiments.context import ExperimentContext
from core.experiments.held_tasks import HeldTask, scene_tasks
from core.experiments.known import everyday
from core.experiments.runner import Row
from core.sglora.request import AdapterRequest
from core.training.corpus import LANGUAGES, TRANSLATIONS
from core.training.translations import as_typed

FEWEST = 10  # photos of a task with captions in all languages
EVERYDAY, KNOWN = "everyday photos", "known scenes"
NATIVE = "Chinese by native speakers"  # of the photo: no translation, and shorter
Captions = dict[str, str]  # by language


def run(context: ExperimentContext) -> dict[str, Any]:
    """Recalls of every task in every language, with the task's LoRA, and the gap to English."""
    corpus = context.corpus
    read = read_translations(context.data / TRANSLATIONS)
    translations = {image: captions for image, found in read.items() if (captions := translated(found))}
    tasks = [(EVERYDAY, everyday(corpus)), *((KNOWN, task) for task in scene_tasks(corpus))]
    rows = [row for group, task in tasks for row in _rows(context, group, task, translations)]
    return {"rows": rows, "groups": statistics.summary(rows, "English")}


def _rows(context: ExperimentContext, group: str, task: HeldTask, translations: Mapping[str, Captions]) -> Iterator[Row]:
    """One row per language; none if too few photos have captions in all languages."""
    corpus = context.corpus
    photos = [row for row in task.test.tolist() if corpus.image(row) in translations]
    if len(photos) < FEWEST:
        return
    lora = context.engine.adapt(AdapterRequest(task.description)).lora
    captions = [translations[corpus.image(row)] for row in photos]
    for language in captions[0]:
        relevance = Relevance.of([(each[language],) for each in captions])
        prefixes = corpus.backbone.text_prefix(relevance.texts)
        recalls = corpus.gallery_recalls(np.array(photos), relevance, prefixes, lora)
        about = {"group": group, "task": task.name, "variant": language, "photos": len(photos)}
        yield about | statistics.both_ways(recalls)


def translated(found: Sequence[Translation]) -> Captions:
    """A photo's captions by language: an English one, its translations, and a Chinese one by a native speaker. {} if one is
    missing."""
    english = next((t.english for t in found if t.english), "")
    captions = {LANGUAGES[t.language]: t.text for t in found if _letters(t.english) == _letters(english)}
    native = [t.text for t in found if not t.english]
    if captions.keys() != set(LANGUAGES.values()) or not native:
        return {}
    return {"English": english, **captions, "German in lower case": as_typed(captions["German"]), NATIVE: native[0]}


def _letters(text: str) -> str:
    """Flickr8k and its translations differ in spaces and full stops."""
    return re.sub(r"\W", "", text.lower())


def findings(result: Mapping[str, Any]) -> Iterator[str]:
    for group, content in result["groups"].items():
        means = {name: values["mean"]["R@10"] for name, values in content["methods"].items()}
        shares = ", ".join(f"{name} {100 * mean / means['English']:.0f} %" for name, mean in means.items() if name != "English")
        yield f"Share of the R@10 of English ({means['English']:.1f}) with {group}: {shares}."
