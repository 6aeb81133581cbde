"""Which experts to train: topics found in captions, COCO's categories, and groups of classes.

Topics of a captioned set overlap on purpose: single keywords ("snow"), broad clusters of photos with similar captions, and fine
clusters ("a dog running on a beach"). The router picks the closest ones.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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

MOST = 0.2  # a keyword of a larger share of the captioned photos is too common
SHARED_PHOTOS, SHARED_MEANING, INSIDE, RELATED = 0.3, 0.6, 0.75, 0.3  # when two keywords are one topic
BROAD, SMALLEST = 250, 10  # mean size of a broad cluster, least size of any cluster; in photos
CAPTION_WORDS = (4, 12)  # length of a caption that may describe a topic
SHOWN = 5  # classes named in a description


@dataclass(frozen=True)
class ExpertTask:
    """The training task of one expert; a missing text is ""."""

    name: str  # short and unique
    description: str  # what people read
    group: str  # "scenes", or the special domain
    rows: np.ndarray  # photos that train
    keywords: str = ""  # other words for the topic
    classes: tuple[str, ...] = ()  # of a label task
    example: str = ""  # caption closest to the topic's centre, for the key; a repository keeps no caption
    phrases: str = ""  # the automatic description, if a person wrote another one
    source: str = ""  # data set

    @property
    def wordings(self) -> tuple[str, ...]:
        """The texts whose mean is the expert's key. For scenes, a written description replaces the automatic texts."""
        automatic = () if self.phrases and self.group == "scenes" else (self.phrases, self.keywords)
        return tuple(text for text in (self.description, *automatic, self.example) if text)


def discover(corpus: Corpus, recipe: ExpertRecipe) -> list[ExpertTask]:
    """The experts' tasks among the training photos, with unique names."""
    tasks = [
        *category_tasks(corpus, recipe),
        *keyword_tasks(corpus, recipe),
        *cluster_tasks(corpus, recipe),
        *captioned_domain_tasks(corpus, recipe),
        *class_tasks(corpus, recipe),
    ]
    taken: Counter[str] = Counter()
    named = []
    for task in tasks:
        name = task.name[: MAX_NAME - 5]
        taken[name] += 1
        name = name if taken[name] == 1 else f"{name} ({taken[name]})"
        named.append(replace(task, name=name, source=corpus.samples[task.rows[0]].dataset))
    return named


def read_descriptions(path: Path) -> dict[str, str]:
    """Read written descriptions, by expert's name. Raises DataError: when the file is missing or no JSON object;
    DescriptionError: when a sentence is invalid."""
    if not path.is_file():
        raise DataError(f"The file of descriptions {path} does not exist.")
    written = read_json(path)
    if not isinstance(written, dict):
        raise DataError(f"{path.name} does not hold descriptions: it needs a JSON object of experts' names and sentences.")
    return {name: clean_text(text, f"description of {name}") for name, text in written.items()}


def described(tasks: Sequence[ExpertTask], written: Mapping[str, str]) -> list[ExpertTask]:
    """Replace the descriptions of tasks that have a written one."""
    return [replace(t, description=written[t.name], phrases=t.description) if t.name in written else t for t in tasks]


def category_tasks(corpus: Corpus, recipe: ExpertRecipe) -> Iterator[ExpertTask]:
    """One task per object category (paper, COCO tasks)."""
    for category, rows in corpus.categories.items():
        train = rows[corpus.train[rows]]
        if len(train) >= recipe.keyword:
            article = "an" if category[0] in "aeiou" else "a"
            yield ExpertTask(category, f"a photo of {article} {category}", "scenes", train)


def keyword_tasks(corpus: Corpus, recipe: ExpertRecipe) -> Iterator[ExpertTask]:
    """One task per group of keywords that share photos or meaning.

    Only the half of the keywords whose photos have the most similar captions is used: "wearing" appears with any topic.
    """
    rows = keyword_rows(corpus, recipe.keyword, MOST)
    if not rows:
        return
    agreement = {w: float(np.linalg.norm(corpus.photo_sentences[r].mean(0))) for w, r in rows.items()}
    needed = float(np.median(list(agreement.values())))
    names = sorted((w for w in rows if agreement[w] >= needed), key=lambda w: -len(rows[w]))
    meaning = dict(zip(names, corpus.backbone.encode_sentence(names).numpy(), strict=True))
    groups: list[tuple[list[str], np.ndarray]] = []
    for word in names:
        for number, (keywords, photos) in enumerate(groups):
            both, close = len(np.intersect1d(photos, rows[word])), float(meaning[keywords[0]] @ meaning[word])
            union = np.union1d(photos, rows[word])
            inside = both / len(rows[word]) > INSIDE and close > RELATED
            if both / len(union) > SHARED_PHOTOS or close > SHARED_MEANING or inside:
                groups[number] = ([*keywords, word], union)
                break
        else:
            groups.append(([word], rows[word]))
    phrases = common_phrases(corpus, [r for _, r in groups], [keywords[0] for keywords, _ in groups])
    for (keywords, photos), common in zip(groups, phrases, strict=True):
        example = _central_caption(corpus, photos, word=keywords[0])
        description = photos_of(corpus, photos, common or keywords)
        yield ExpertTask(keywords[0], description, "scenes", photos, ", ".join(keywords), example=example)


def cluster_tasks(corpus: Corpus, recipe: ExpertRecipe) -> Iterator[ExpertTask]:
    """Broad and fine clusters of captioned photos, by the mean embedding of their captions (spherical k-means)."""
    rows = np.flatnonzero(corpus.train & corpus.scenes)
    if len(rows) < 2 * SMALLEST:
        return
    clusters = [*_clustered(corpus, rows, BROAD), *_clustered(corpus, rows, recipe.fine, recipe.least)]
    phrases = common_phrases(corpus, [photos for _, photos in clusters], [""] * len(clusters))
    overall, taken = _word_counts(corpus, rows), set[str]()
    for (centre, photos), common in zip(clusters, phrases, strict=True):
        keywords = _distinctive(corpus, photos, overall, len(rows)) or ["people"]
        default = f"{common[0]}, {keywords[0]}" if common else " ".join(keywords[:2])
        name = next((phrase for phrase in common if phrase not in taken), default)
        taken.add(name)
        description, example = photos_of(corpus, photos, common or keywords), _central_caption(corpus, photos, centre)
        yield ExpertTask(name, description, "scenes", photos, ", ".join(keywords), example=example)


def captioned_domain_tasks(corpus: Corpus, recipe: ExpertRecipe) -> Iterator[ExpertTask]:
    """Each special domain with captions as a whole, and its clusters."""
    for domain in sorted({str(d) for d in corpus.domains[corpus.captioned]} - {""}):
        rows = np.flatnonzero(corpus.train & corpus.captioned & (corpus.domains == domain))
        if len(rows) < 2 * SMALLEST:
            continue
        overall, style = _word_counts(corpus, rows), style_of(domain)
        yield ExpertTask(f"{domain} with captions", style.phrase, domain, rows, example=_central_caption(corpus, rows))
        for centre, photos in _clustered(corpus, rows, 2 * recipe.fine):
            keywords = _distinctive(corpus, photos, overall, len(rows))
            if keywords:
                example = _central_caption(corpus, photos, centre)
                yield ExpertTask(f"{domain}: {keywords[0]}", style.of(keywords), domain, photos, example=example)


def _clustered(corpus: Corpus, rows: np.ndarray, size: int, least: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Centre and rows of clusters of about ``size`` photos; smaller ones get the closest photos, up to ``least``."""
    sentences = corpus.photo_sentences[rows]
    centres = _clusters(sentences, max(1, round(len(rows) / size)))
    similarity = sentences @ centres.T
    for number, centre in enumerate(centres):
        members = np.flatnonzero(similarity.argmax(1) == number)
        if len(members) < SMALLEST:
            continue
        if len(members) < least:
            members = np.argsort(-similarity[:, number])[:least]
        yield centre, rows[members]


def class_tasks(corpus: Corpus, recipe: ExpertRecipe) -> Iterator[ExpertTask]:
    """Each labelled domain as a whole, and groups of its classes with similar names; everyday objects only in groups."""
    for domain, classes in sorted(corpus.classes.items()):
        rows = {label: train for label, own in sorted(classes.items()) if len(train := own[corpus.train[own]]) >= 2}
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
            yield ExpertTask(name, description, domain, own, classes=tuple(labels[i] for i in group))


def _clusters(vectors: np.ndarray, count: int) -> np.ndarray:
    """Unit-length centres [count, d] of spherical k-means over unit-length vectors."""
    means = faiss.Kmeans(
        vectors.shape[1], count, niter=30, seed=0, spherical=True, min_points_per_centroid=1, max_points_per_centroid=10**6
    )
    means.train(np.ascontiguousarray(vectors, dtype=np.float32))
    centres = np.asarray(means.centroids)
    return centres / np.linalg.norm(centres, axis=1, keepdims=True)


def _central_caption(corpus: Corpus, rows: np.ndarray, centre: np.ndarray | None = None, word: str = "") -> str:
    """The caption closest to a topic's centre (None: the photos' mean), among those with the word if any has it."""
    if centre is None:
        mean = corpus.photo_sentences[rows].mean(0)
        centre = mean / np.linalg.norm(mean)
    texts = {i for r in rows for i in corpus.own_texts[r][: len(corpus.samples[r].captions)]}
    fitting = {i for i in texts if CAPTION_WORDS[0] <= len(corpus.strings[i].split()) <= CAPTION_WORDS[1]} or texts
    named = {i for i in fitting if word in words(corpus.strings[i])} if word else fitting
    # Rounded, so that floating-point noise does not decide between equally close captions.
    best = max(sorted(named or fitting), key=lambda i: round(float(corpus.sentences[i].numpy() @ centre), 3))
    text = " ".join(corpus.strings[best].split()).strip(" .").replace(" ,", ",")
    return text[:1].upper() + text[1:]


def _word_counts(corpus: Corpus, rows: np.ndarray) -> Counter[str]:
    return Counter(word for row in rows for word in photo_words(corpus.samples[row].captions))


def _distinctive(corpus: Corpus, rows: np.ndarray, overall: Counter[str], photos: int) -> list[str]:
    """Up to three words that are typical of these photos: share times log(share / share of all photos)."""
    scores = {}
    for word, count in _word_counts(corpus, rows).items():
        share = count / len(rows)
        if share >= 0.15:
            scores[word] = share * math.log(share / (overall[word] / photos))
    return sorted(scores, key=lambda w: (-round(scores[w], 6), w))[:3]
