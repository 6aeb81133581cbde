"""All photos of training, with cached prefix activations, their texts, and each photo's role."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.backbones import EMBEDDED
from core.backbones.base import Backbone
from core.backbones.lora import Lora
from core.common.digest import digest
from core.common.errors import DataError
from core.common.lazy import lazy
from core.common.metrics import Relevance, measure
from core.common.progress import Log
from core.data import Sample, data_folders, read_folder
from core.data.jsonl import read_translations
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import photo_rows, text_rows
from core.retrieval.popularity import popularity, spread_rows, with_popularity
from core.sglora.request import DEFAULT_WEIGHT
from core.training.class_names import ClassNames
from core.training.features import Features, image_features, text_features
from core.training.label_styles import label_texts

OBJECTS = "objects"  # the domain of everyday objects, which trained the embedded base
VALIDATION = 0.12  # share of photos that train nothing, but choose recipes and measure experts
LABELLED_TRAIN = 0.75  # share of each class's photos that train
FEW = 3  # classes with fewer photos only measure
COCO, COCO_HELD_OUT = "coco", 160  # folder in the data folder that trains the embedded base; photos of it that do not
TRANSLATIONS = "languages"  # folder in the data folder, with captions in other languages
LANGUAGES = {"de": "German", "fr": "French", "zh": "Chinese", "cs": "Czech"}
TRAINED_LANGUAGES = ("de", "fr")  # of shared LoRA and experts; the others train maps alone


def draw(text: str) -> float:
    """A number in [0, 1) from the hash of a text, so that splits do not depend on file order."""
    return int(digest(text)[:12], 16) / 16**12


@dataclass(frozen=True)
class Corpus:
    """Photos and their texts, for one backbone."""

    backbone: Backbone
    samples: tuple[Sample, ...]  # [n]
    prefixes: Features  # prefix activations [n, *prefix_shape] float16, on disk
    sentences: Tensor  # [t, s], sentence embeddings of all texts
    texts: Tensor  # [t, …], prefixes of all texts
    strings: tuple[str, ...]  # [t], all texts
    # Rows of ``sentences`` to train each photo with: its captions or the texts of its label, then translations.
    own_texts: tuple[np.ndarray, ...]
    labels: np.ndarray  # [n], equal for photos of one class; a captioned photo has its row number
    base: Tensor  # [n, d], zero-shot embeddings
    class_names: ClassNames  # for the penalty for forgetting
    train: np.ndarray  # [n] bool; each photo trains, validates, or measures
    validation: np.ndarray  # [n] bool: photos that choose recipes and calibrate
    test: np.ndarray  # [n] bool: photos that measure
    views: tuple[Features, ...] = ()  # prefixes of seeded, maybe mirrored crops, as alternatives in training

    def __len__(self) -> int:
        return len(self.samples)

    @lazy
    def captioned(self) -> np.ndarray:
        """[n] bool: photos with captions; the others have a label."""
        return np.array([bool(s.captions) for s in self.samples])

    @lazy
    def scenes(self) -> np.ndarray:
        """[n] bool: photos of everyday scenes with captions."""
        return self.captioned & (self.domains == "")

    @lazy
    def domains(self) -> np.ndarray:
        """[n] text: the special domain of each photo, or OBJECTS; "" for everyday scenes."""
        return np.array([s.domain for s in self.samples])

    @lazy
    def everyday(self) -> np.ndarray:
        """[n] bool: photos for the penalty of adapters of photos: everyday objects, or all photos if none of them trains."""
        objects = (self.domains == OBJECTS) & ~self.captioned
        return objects if (objects & self.train).any() else np.ones(len(self), dtype=bool)

    @lazy
    def photo_sentences(self) -> np.ndarray:
        """[n, s] mean sentence embedding of each photo's texts, unit length."""
        means = np.stack([self.sentences[torch.from_numpy(texts)].mean(0).numpy() for texts in self.own_texts])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    @lazy
    def classes(self) -> dict[str, dict[str, np.ndarray]]:
        """Labelled photos: domain -> label -> rows."""
        domains: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for row, s in enumerate(self.samples):
            if not s.captions:
                domains[s.domain][s.label].append(row)
        return {d: {label: np.array(rows) for label, rows in classes.items()} for d, classes in domains.items()}

    @lazy
    def sets(self) -> dict[tuple[str, str], dict[str, np.ndarray]]:
        """Labelled photos: (domain, data set) -> label -> rows. Classes of one set are distinct, of several may overlap."""
        sets: dict[tuple[str, str], dict[str, np.ndarray]] = defaultdict(dict)
        for domain, classes in self.classes.items():
            for label, rows in classes.items():
                names = np.array([self.samples[row].dataset for row in rows])
                for name in set(names.tolist()):
                    sets[domain, name][label] = rows[names == name]
        return dict(sorted(sets.items()))

    @lazy
    def categories(self) -> dict[str, np.ndarray]:
        """Photos of everyday scenes by object category: category -> rows, in alphabetical order."""
        categories: dict[str, list[int]] = defaultdict(list)
        for row in np.flatnonzero(self.scenes).tolist():
            for category in self.samples[row].categories:
                categories[category].append(row)
        return {category: np.array(rows) for category, rows in sorted(categories.items())}

    def image(self, row: int) -> str:
        """A photo's name in caption files: its last folder and its file name."""
        return "/".join(self.samples[row].path.parts[-2:])

    def seen(self, photos: Tensor, rng: np.random.Generator) -> Tensor:
        """Prefixes of these photos [k], each in a random view."""
        prefixes, view = self.prefixes[photos], torch.from_numpy(rng.integers(1 + len(self.views), size=len(photos)))
        for number, features in enumerate(self.views, 1):
            prefixes[view == number] = features[photos[view == number]]
        return prefixes

    def indexed(self, rows: np.ndarray, adapter: Adapter) -> Tensor:
        """The index entries of the photos at these rows (``core.retrieval.columns``)."""
        index = torch.from_numpy(rows)
        if self.backbone.shared is None and adapter.lora is None:
            return self.base[index]
        return photo_rows(self.backbone, self.prefixes[index], adapter)

    def captions(self, row: int) -> list[str]:
        """The texts to measure a photo with: its captions, or the first text of its label."""
        return [self.strings[i] for i in self.own_texts[row][: len(self.samples[row].captions) or 1]]

    def recalls(self, rows: np.ndarray, lora: Lora | None = None) -> dict[str, Any]:
        """Recalls with the photos at these rows as a gallery, under a LoRA, as in ``metrics.measure``."""
        relevance = Relevance.of([self.captions(row) for row in rows])
        texts_at = {self.strings[i]: i for row in rows for i in self.own_texts[row]}
        texts = self.texts[torch.tensor([texts_at[text] for text in relevance.texts])]
        return self.gallery_recalls(rows, relevance, texts, lora)

    def gallery_recalls(self, rows: np.ndarray, relevance: Relevance, texts: Tensor, lora: Lora | None) -> dict[str, Any]:
        """``recalls`` for other texts, given as prefixes. As in a gallery, a text's popularity is subtracted before ranking."""
        adapter = usual_adapter(self.backbone, lora)
        photos, questions = self.indexed(rows, adapter), text_rows(self.backbone, texts, adapter)
        popular = popularity(photos[spread_rows(len(photos))], questions)
        return measure(*with_popularity(photos, questions, popular), relevance)


def usual_adapter(backbone: Backbone, lora: Lora | None) -> Adapter:
    """A LoRA as search uses it at the default strength: in mixed scores if the backbone has a shared LoRA."""
    return ZERO_SHOT if lora is None else Adapter.of(lora, 1.0 if backbone.shared is None else DEFAULT_WEIGHT)


def parts(samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks [n] bool of the photos that train, validate, and measure; each photo has one role.

    Photos of the splits "val" and "test" measure; if no captioned photo has such a split, a fifth of the captioned ones do.
    VALIDATION of the other captioned photos validate. Of labelled photos, LABELLED_TRAIN train and VALIDATION validate;
    classes with fewer than FEW photos only measure.
    """
    captioned = np.array([bool(s.captions) for s in samples], dtype=bool)
    held = np.array([s.split in ("val", "test") for s in samples], dtype=bool)
    counts = Counter((s.dataset, s.domain, s.label) for s in samples)
    few = np.array([counts[s.dataset, s.domain, s.label] < FEW for s in samples], dtype=bool)
    draws = np.array([draw(s.path.name if s.captions else f"{s.label}/{s.path.name}") for s in samples])
    if not (held & captioned).any():
        held |= captioned & (draws < 0.2)
    test = held | (~captioned & (few | (draws >= LABELLED_TRAIN + VALIDATION)))
    validation = ~test & np.where(captioned, draws > 1 - VALIDATION, draws >= LABELLED_TRAIN)
    return ~test & ~validation, validation, test


def coco_held_out(samples: Sequence[Sample]) -> np.ndarray:
    """[n] bool: the COCO_HELD_OUT photos that no training uses, chosen by a hash of the file name."""
    ranks = [digest(s.path.name) for s in samples]
    held = set(sorted(ranks)[:COCO_HELD_OUT])
    return np.array([r in held for r in ranks])


def splits(data: Path) -> dict[Path, str]:
    """ "train", "val" or "test" by photo, for the embedded backbone: `coco` trains its base alone."""
    folders = [folder for folder in data_folders(data) if folder != data / TRANSLATIONS]
    samples = [replace(s, dataset=s.dataset or f.name) for f in folders if f != data / COCO for s in read_folder(f)]
    coco = read_folder(data / COCO) if data / COCO in folders else []
    train, validation, _ = parts(samples)
    names = [*np.select([train, validation], ["train", "val"], "test"), *np.where(coco_held_out(coco), "test", "train")]
    return {sample.path: str(name) for sample, name in zip([*samples, *coco], names, strict=True)}


def load_corpus(data: Path, backbone: Backbone, cache: Path, log: Log, views: int = 1) -> Corpus:
    """Read captioned and labelled photos in ``views`` views each; the photo itself is the first.

    ``data`` is a data folder, or holds one per set (``flickr8k``, ``labelled``, …). With the embedded backbone, `coco` is left
    out: it trains the base, and measures. `languages` has captions of `flickr8k` in other languages. Unreadable photos are
    left out. Raises DataError: when there is no photo to train on.
    """
    left_out = {data / TRANSLATIONS} | ({data / COCO} if backbone.name == EMBEDDED else set())
    translated = read_translations(data / TRANSLATIONS) if (data / TRANSLATIONS).is_dir() else {}
    samples: list[Sample] = []
    features: list[list[tuple[np.ndarray, np.ndarray]]] = []  # of each folder: of each view, its array and the rows to use
    for folder in (f for f in data_folders(data) if f not in left_out):
        photos = read_folder(folder, categories=True)
        arrays = [image_features(photos, cache, view, log, backbone) for view in range(views)]
        readable = np.array([bool(row.any()) for row in arrays[0][:, 0]], dtype=bool)  # unreadable photos are all zeros
        keep = np.flatnonzero(readable & np.array([bool(s.captions or s.label) for s in photos], dtype=bool))
        features.append([(array, keep) for array in arrays])
        for sample in (photos[i] for i in keep):
            first = {t.language: t.text for t in reversed(translated.get(str(sample.path.relative_to(folder)), []))}
            texts = tuple(first[language] for language in TRAINED_LANGUAGES if language in first)  # one of each
            samples.append(replace(sample, dataset=sample.dataset or folder.name, translations=texts))
        log(f"{folder.name}: {len(keep)} of {len(photos)} photos are used")
    if not samples:
        raise DataError(f"No photo to train on was found in {data}: give a folder of captioned or labelled photos.")

    def read(texts: Sequence[str]) -> Tensor:  # sentence embeddings are cached; tokens are fast
        return text_features(texts, cache, log, backbone) if backbone.text_key else backbone.text_prefix(texts)

    prefixes, *augmented = map(Features, zip(*features, strict=True))
    own_texts = [(s.captions or label_texts(s)) + s.translations for s in samples]
    strings = sorted({text for texts in own_texts for text in texts})
    index = {text: i for i, text in enumerate(strings)}
    names = {label: -1 - i for i, label in enumerate(sorted({s.label for s in samples if s.label}))}
    train, validation, test = parts(samples)
    return Corpus(
        backbone=backbone,
        samples=tuple(samples),
        prefixes=prefixes,
        sentences=text_features(strings, cache, log, backbone),
        texts=read(strings),
        strings=tuple(strings),
        own_texts=tuple(np.array([index[text] for text in texts]) for texts in own_texts),
        labels=np.array([names[s.label] if s.label and not s.captions else row for row, s in enumerate(samples)]),
        base=torch.cat([backbone.suffix(prefixes[rows]) for rows in torch.arange(len(samples)).split(1024)]),
        class_names=ClassNames.of(backbone, read),
        train=train,
        validation=validation,
        test=test,
        views=tuple(augmented),
    )
