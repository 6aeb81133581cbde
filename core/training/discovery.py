"""Which experts to train: topics that are found in captions, COCO's categories, and groups of classes.

Three views of a captioned set overlap on purpose: single keywords that hold together ("snow"), broad clusters of photos whose
captions are alike, and fine ones ("a dog running on a beach"). A sentence is routed to what is closest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import faiss
import numpy as np

from core.common.errors import DataError
from core.common.text import MAX_NAME, clean_text
from core.data.text import read_json
from core.training.corpus import OBJECTS, Corpus
from core.training.keywords import common_phrases, keyword_rows, photo_words, photos_of, words
from core.training.label_styles import style_of
from core.training.recipe import ExpertRecipe

MOST = 0.2  # share of the captioned photos above which a keyword says nothing
SHARED_PHOTOS, SHARED_MEANING, INSIDE, RELATED = 0.3, 0.6, 0.75, 0.3
BROAD, SMALLEST = 250, 10  # photos a broad cluster; fewest photos of any cluster
CAPTION_WORDS = (4, 12)  # length of a caption that may describe a topic
SHOWN = 5  # classes named in a description


@dataclass(frozen=True)
class ExpertTask:
    """What one expert is trained on; texts are "" where there are none."""

    name: str  # short and unique
    description: str  # what people read
    group: str  # "scenes", or the domain of a label task
    rows: np.ndarray  # photos that train
    keywords: str = ""  # other words for it
    classes: tuple[str, ...] = ()  # of a label task
    example: str = ""  # the caption closest to its middle, for its key; a repository keeps no caption
    phrases: str = ""  # the description that was found, where a person wrote another one
    source: str = ""  # data set

    @property
    def wordings(self) -> tuple[str, ...]:
        """What its key is the mean of. On scenes a written sentence replaces what was found; names of classes stay."""
        found = () if self.phrases and self.group == "scenes" else (self.phrases, self.keywords)
        return tuple(text for text in (self.description, *found, self.example) if text)


def discover(corpus: Corpus, recipe: ExpertRecipe) -> list[ExpertTask]:
    """The experts' tasks among the training photos, each with a name of its own."""
    found = [
        *category_tasks(corpus, recipe),
        *keyword_tasks(corpus, recipe),
        *cluster_tasks(corpus, recipe),
        *captioned_domain_tasks(corpus, recipe),
        *class_tasks(corpus, recipe),
    ]
    taken: Counter[str] = Counter()
    named = []
    for task in found:
        name = task.name[: MAX_NAME - 5]
        taken[name] += 1
        name = name if taken[name] == 1 else f"{name} ({taken[name]})"
        named.append(replace(task, name=name, source=corpus.samples[task.rows[0]].dataset))
    return named


def read_descriptions(path: Path) -> dict[str, str]:
    """Sentences that a person wrote, by the name of the expert that they describe; raises DataError if the file is missing or
    holds something else, and DescriptionError if a sentence cannot be used."""
    if not path.is_file():
        raise DataError(f"The file of descriptions {path} does not exist.")
    written = read_json(path)
    if not isinstance(written, dict):
        raise DataError(f"{path.name} does not hold descriptions: it needs a JSON object of experts' names and sentences.")
    return {name: clean_text(text, f"description of {name}") for name, text in written.items()}


def described(tasks: Sequence[ExpertTask], written: Mapping[str, str]) -> list[ExpertTask]:
    """The tasks, with the descriptions that a person wrote for some of them."""
    return [replace(t, description=written[t.name], phrases=t.description) if t.name in written else t for t in tasks]


def category_tasks(corpus: Corpus, recipe: ExpertRecipe) -> list[ExpertTask]:
    """The photos that show an object of a category (paper, COCO tasks)."""
    tasks = []
    for category, rows in corpus.categories.items():
        own = rows[corpus.train[rows]]
        if len(own) >= recipe.keyword:
            article = "an" if category[0] in "aeiou" else "a"
            tasks.append(ExpertTask(category, f"a photo of {article} {category}", "scenes", own))
    return tasks


def keyword_tasks(corpus: Corpus, recipe: ExpertRecipe) -> list[ExpertTask]:
    """Keywords whose photos are alike, those of the same photos or the same meaning together.

    A word such as "wearing" names photos of everything: of all words the half counts whose photos' captions agree most.
    """
    rows = keyword_rows(corpus, corpus.train, recipe.keyword, MOST)
    if not rows:
        return []
    agreement = {w: float(np.linalg.norm(corpus.photo_sentences[r].mean(0))) for w, r in rows.items()}
    needed = float(np.median(list(agreement.values())))
    names = sorted((w for w in rows if agreement[w] >= needed), key=lambda w: -len(rows[w]))
    meaning = dict(zip(names, corpus.backbone.encode_sentence(names).numpy(), strict=True))
    groups: list[tuple[list[str], np.ndarray]] = []
    for word in names:
        for number, (own, photos) in enumerate(groups):
            both, close = len(np.intersect1d(photos, rows[word])), float(meaning[own[0]] @ meaning[word])
            union = np.union1d(photos, rows[word])
            inside = both / len(rows[word]) > INSIDE and close > RELATED
            if both / len(union) > SHARED_PHOTOS or close > SHARED_MEANING or inside:
                groups[number] = ([*own, word], union)
                break
        else:
            groups.append(([word], rows[word]))
    spoken = common_phrases(corpus, [r for _, r in groups], [own[0] for own, _ in groups])
    tasks = []
    for (own, photos), said in zip(groups, spoken, strict=True):
        example = _spoken(corpus, photos, _centre(corpus, photos), own[0])
        description = photos_of(corpus, photos, said or own)
        tasks.append(ExpertTask(own[0], description, "scenes", photos, ", ".join(own), example=example))
    return tasks


def cluster_tasks(corpus: Corpus, recipe: ExpertRecipe) -> list[ExpertTask]:
    """Broad and fine clusters of captioned photos, by the mean embedding of their captions (spherical k-means)."""
    rows = np.flatnonzero(corpus.train & corpus.scenes)
    if len(rows) < 2 * SMALLEST:
        return []
    found = [*_clustered(corpus, rows, BROAD), *_clustered(corpus, rows, recipe.fine, recipe.least)]
    spoken = common_phrases(corpus, [own for _, own in found], [""] * len(found))
    overall = Counter(word for row in rows for word in photo_words(corpus.samples[row].captions))
    tasks: list[ExpertTask] = []
    for (centre, own), said in zip(found, spoken, strict=True):
        named = _distinctive(corpus, own, overall, len(rows)) or ["people"]
        taken = {task.name for task in tasks}
        usual = f"{said[0]}, {named[0]}" if said else " ".join(named[:2])
        name = next((phrase for phrase in said if phrase not in taken), usual)
        description, example = photos_of(corpus, own, said or named), _spoken(corpus, own, centre)
        tasks.append(ExpertTask(name, description, "scenes", own, ", ".join(named), example=example))
    return tasks


def captioned_domain_tasks(corpus: Corpus, recipe: ExpertRecipe) -> list[ExpertTask]:
    """Every special domain whose photos have captions as a whole, and its clusters."""
    tasks = []
    for domain in sorted({str(d) for d in corpus.domains[corpus.captioned]} - {""}):
        rows = np.flatnonzero(corpus.train & corpus.captioned & (corpus.domains == domain))
        if len(rows) < 2 * SMALLEST:
            continue
        overall = Counter(word for row in rows for word in photo_words(corpus.samples[row].captions))
        style, whole = style_of(domain), _spoken(corpus, rows, _centre(corpus, rows))
        tasks.append(ExpertTask(f"{domain} with captions", style.phrase, domain, rows, example=whole))
        for centre, own in _clustered(corpus, rows, 2 * recipe.fine):
            named = list(_distinctive(corpus, own, overall, len(rows)))
            if named:
                example = _spoken(corpus, own, centre)
                tasks.append(ExpertTask(f"{domain}: {named[0]}", style.of(named), domain, own, example=example))
    return tasks


def _clustered(corpus: Corpus, rows: np.ndarray, size: int, least: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Centre and rows of clusters of about ``size`` photos, filled up to ``least`` with the closest ones."""
    sentences = corpus.photo_sentences[rows]
    centres = _clusters(sentences, max(1, round(len(rows) / size)))
    similarity, found = sentences @ centres.T, []
    for number, centre in enumerate(centres):
        members = np.flatnonzero(similarity.argmax(1) == number)
        if len(members) < SMALLEST:
            continue
        if len(members) < least:
            members = np.argsort(-similarity[:, number])[:least]
        found.append((centre, rows[members]))
    return found


def class_tasks(corpus: Corpus, recipe: ExpertRecipe) -> list[ExpertTask]:
    """Every labelled domain as a whole, and its classes in groups of similar names; everyday objects in groups alone."""
    tasks = []
    for domain, classes in sorted(corpus.classes.items()):
        rows = {label: own[corpus.train[own]] for label, own in sorted(classes.items())}
        rows = {label: own for label, own in rows.items() if len(own) >= 2}
        labels = list(rows)
        if len(labels) < 2:
            continue
        style = style_of(domain)
        meaning = corpus.backbone.encode_sentence(labels).numpy()
        groups = [] if domain == OBJECTS else [np.arange(len(labels))]
        if (count := round(len(labels) / recipe.classes)) > 1:
            nearest = (meaning @ _clusters(meaning, count).T).argmax(1)
            groups += [own for n in range(count) if len(own := np.flatnonzero(nearest == n)) >= 3]
        for number, group in enumerate(groups):
            central = group[np.argsort(-(meaning[group] @ meaning[group].mean(0)))]
            shown = [labels[i] for i in central[:SHOWN]]
            whole = domain != OBJECTS and number == 0
            own = np.concatenate([rows[labels[i]] for i in group])
            name = (domain or "classes") if whole else f"{domain}: {shown[0]}"
            description = style.phrase if whole and domain else style.of(shown)
            tasks.append(ExpertTask(name, description, domain, own, classes=tuple(labels[i] for i in group)))
    return tasks


def without_expert(corpus: Corpus, tasks: Sequence[ExpertTask], recipe: ExpertRecipe) -> list[str]:
    """A line for each labelled domain of whose photos no expert is trained, with the reason."""
    used = np.zeros(len(corpus), dtype=bool)
    for task in tasks:
        used[task.rows] = True
    lines = []
    for domain, classes in sorted(corpus.classes.items()):
        rows = np.concatenate(list(classes.values()))
        if used[rows].any():
            continue
        why = "a domain needs two classes with two photos each that train"
        if domain == OBJECTS:
            why = (
                f"everyday objects make experts in groups of {recipe.classes} classes, and there are {len(classes)}; give "
                "photos of your own topic another domain"
            )
        lines.append(f"labelled photos of the domain “{domain}”: {len(rows)}, but no expert is trained on them: {why}")
    return lines


def _clusters(vectors: np.ndarray, count: int) -> np.ndarray:
    """Unit-length centres [count, d] of spherical k-means over unit-length vectors."""
    means = faiss.Kmeans(
        vectors.shape[1], count, niter=30, seed=0, spherical=True, min_points_per_centroid=1, max_points_per_centroid=10**6
    )
    means.train(np.ascontiguousarray(vectors, dtype=np.float32))
    centres = np.asarray(means.centroids)
    return centres / np.linalg.norm(centres, axis=1, keepdims=True)


def _centre(corpus: Corpus, rows: np.ndarray) -> np.ndarray:
    mean = corpus.photo_sentences[rows].mean(0)
    return mean / np.linalg.norm(mean)


def _spoken(corpus: Corpus, rows: np.ndarray, centre: np.ndarray, word: str = "") -> str:
    """The caption (with the word, if any has it) closest to the middle of a topic."""
    texts = {i for r in rows for i in corpus.own_texts[r][: len(corpus.samples[r].captions)]}
    fitting = {i for i in texts if CAPTION_WORDS[0] <= len(corpus.strings[i].split()) <= CAPTION_WORDS[1]} or texts
    named = {i for i in fitting if word in words(corpus.strings[i])} if word else fitting
    # Rounded, so that rounding does not choose among captions that are as close.
    best = max(sorted(named or fitting), key=lambda i: round(float(corpus.sentences[i].numpy() @ centre), 3))
    text = " ".join(corpus.strings[best].split()).strip(" .").replace(" ,", ",")
    return text[:1].upper() + text[1:]


def _distinctive(corpus: Corpus, rows: np.ndarray, overall: Counter[str], photos: int, most: int = 3) -> Sequence[str]:
    """Words that name more of these photos than of all: share times the logarithm of its excess."""
    inside = Counter(word for row in rows for word in photo_words(corpus.samples[row].captions))
    scores = {}
    for word, count in inside.items():
        share = count / len(rows)
        if share >= 0.15:
            scores[word] = share * math.log(share / (overall[word] / photos))
    return sorted(scores, key=lambda w: (-round(scores[w], 6), w))[:most]
