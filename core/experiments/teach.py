"""Does a name that was taught from a few photos find more of them, in any wording, and what is forgotten for it?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from core.backbones.lora import Lora
from core.common import markdown
from core.experiments import figures, statistics
from core.experiments.context import ExperimentContext
from core.sglora.repository import CLASS_NAMES
from core.sglora.request import AdapterRequest
from core.sglora.teach import TaughtNames
from core.training.corpus import OBJECTS, Corpus
from core.training.forgetting import named_sets

NONSENSE = tuple(
    "wug dax blicket toma fep zorp kiki bouba gazzer modi tulver quillop snarf vex plim drunt yorb masp fendle grib".split()
)
PHOTOS = (1, 3, 10)  # that a name is taught from
MOST = 11  # names at once
DRAWS = 3  # of classes, names and photos
FEWEST = 4  # photos of a class to measure on
OTHERS = 1_000  # everyday photos beside those of a class
FIRST = 10
PLAIN = "a photo of a {}"
WORDINGS = (PLAIN, "{}", "{} outdoors", "a picture of my {}")
SENTENCE = "photos of people and animals"  # of the adapter that names are taught on top of
# Words of captions that are replaced by a name that was taught from photos of it.
WORDS = ("dog", "horse", "bike", "boat", "bird", "car", "ball", "motorcycle")
FEWEST_CAPTIONS = 15


@dataclass(frozen=True)
class Draw:
    """Some classes of one domain.

    Attributes:
        labels, nonsense: a real and a made-up name for each. taught: rows to teach from, at least max(PHOTOS) each.
        held: rows to measure on, which no training looked at.
    """

    labels: tuple[str, ...]
    nonsense: tuple[str, ...]
    taught: tuple[np.ndarray, ...]
    held: tuple[np.ndarray, ...]


def draws(corpus: Corpus) -> Iterator[tuple[str, Draw]]:
    """DRAWS times some classes of every domain of labelled photos that the frozen model was not trained on."""
    for domain, classes in sorted(corpus.classes.items()):
        parts = {label: (rows[corpus.train[rows]], rows[~corpus.train[rows]]) for label, rows in sorted(classes.items())}
        usable = [label for label, (own, held) in parts.items() if len(own) >= max(PHOTOS) and len(held) >= FEWEST]
        if domain == OBJECTS or len(usable) < 2:
            continue
        for seed in range(DRAWS):
            rng = np.random.default_rng(seed)
            labels = tuple(rng.permutation(usable)[:MOST].tolist())
            names = tuple(rng.permutation(NONSENSE)[: len(labels)].tolist())
            taught = tuple(rng.permutation(parts[label][0]) for label in labels)
            yield domain, Draw(labels, names, taught, tuple(parts[label][1] for label in labels))


def run(context: ExperimentContext) -> dict[str, Any]:
    """{"names": rows of {"domain", "names", "photos", "wording", "right", "ten"}, "forgotten": rows, "composed": rows}."""
    corpus = context.corpus
    others = everyday(corpus)
    found: list[dict[str, Any]] = []
    forgotten: list[dict[str, Any]] = []
    adapter = context.engine.adapt(AdapterRequest(SENTENCE)).lora
    for domain, draw in draws(corpus):
        for kind, names in (("real", draw.labels), ("nonsense", draw.nonsense)):
            for photos in (0, *PHOTOS):
                lora = taught(context, names, draw.taught, photos, None)
                for wording in WORDINGS:
                    about = {"domain": domain, "names": kind, "photos": photos, "wording": wording}
                    found.append(about | measured(context, draw, names, wording, lora, others))
        for base in (None, adapter):
            lora = taught(context, draw.nonsense, draw.taught, 3, base)
            on = "zero-shot" if base is None else "adapter"
            forgotten.append({"domain": domain, "on": on, **lost(context, base, lora, others)})
        context.log(f"{domain}: {found[-2]['right']:.0f} % right after {PHOTOS[-1]} photos")
    return {"names": found, "forgotten": forgotten, "composed": composed(context, others)}


def everyday(corpus: Corpus) -> np.ndarray:
    """OTHERS captioned photos that trained nothing."""
    rows = np.flatnonzero(corpus.captioned & corpus.test)
    return rows[np.linspace(0, len(rows) - 1, min(OTHERS, len(rows))).astype(int)]


def taught(
    context: ExperimentContext, names: Sequence[str], rows: Sequence[np.ndarray], photos: int, base: Lora | None
) -> Lora | None:
    """An adapter with names that were taught from the first so many photos of each."""
    known = TaughtNames(context.backbone)
    if photos:
        for name, own in zip(names, rows, strict=True):
            known = known.add(name, context.corpus.prefixes[torch.from_numpy(own[:photos])])
    return known.on(base)


def measured(
    context: ExperimentContext, draw: Draw, names: Sequence[str], wording: str, lora: Lora | None, others: np.ndarray
) -> dict[str, float]:
    """In percent: photos whose own name fits best of all, and photos of a name among its first ten, beside everyday photos."""
    texts = context.backbone.encode_text([wording.format(name) for name in names], lora)
    beside, right, ten = images(context, others, lora) @ texts.T, [], []
    for i, rows in enumerate(draw.held):
        scores = images(context, rows, lora) @ texts.T  # [photos, names]
        right.append(float((scores.argmax(1) == i).float().mean()))
        first = torch.cat([scores[:, i], beside[:, i]]).topk(min(FIRST, len(rows))).indices
        ten.append(float((first < len(rows)).float().mean()))
    return {"right": round(100 * float(np.mean(right)), 2), "ten": round(100 * float(np.mean(ten)), 2)}


def images(context: ExperimentContext, rows: np.ndarray, lora: Lora | None) -> Tensor:
    """Embeddings [n, d] of photos; names move none."""
    moves = lora if lora is not None and lora.moves_photos else None
    return context.corpus.images(context.backbone, rows, moves)


def lost(context: ExperimentContext, base: Lora | None, lora: Lora | None, others: np.ndarray) -> dict[str, float]:
    """Points that questions without a name lose: R@10 of captions, R@1 of class names."""
    corpus, backbone = context.corpus, context.backbone
    captions = corpus.texts[torch.tensor([int(corpus.own_texts[row][0]) for row in others])]

    def found(adapter: Lora | None) -> float:
        scores = backbone.text_suffix(captions, adapter) @ images(context, others, adapter).T
        return 100 * float(((scores >= scores.diag()[:, None]).sum(1) <= FIRST).float().mean())

    names = next((each for each in named_sets(corpus) if each.name == CLASS_NAMES), None)
    points = {"captions": round(found(base) - found(lora), 2)}
    if names is not None:
        points["class names"] = round(names.accuracy(backbone, corpus, base) - names.accuracy(backbone, corpus, lora), 2)
    return points


def composed(context: ExperimentContext, others: np.ndarray) -> list[dict[str, Any]]:
    """R@10 of captions in which a word is replaced by a made-up name, which was taught from photos that the word describes."""
    corpus, rows = context.corpus, []
    said = {int(row): corpus.strings[int(corpus.own_texts[row][0])] for row in np.flatnonzero(corpus.captioned)}
    for number, word in enumerate(WORDS):
        pattern = re.compile(rf"\b{word}\b", re.IGNORECASE)
        asked = [int(row) for row in others if pattern.search(said[int(row)])]
        own = np.array([row for row, text in said.items() if corpus.train[row] and pattern.search(text)])
        if len(asked) < FEWEST_CAPTIONS or len(own) < max(PHOTOS):
            continue
        name, shuffled = NONSENSE[number], np.random.default_rng(number).permutation(own)
        places = torch.tensor([int(np.flatnonzero(others == row)[0]) for row in asked])
        for photos in (None, 0, *PHOTOS):
            lora = taught(context, [name], [shuffled], photos or 0, None)
            texts = [said[row] if photos is None else pattern.sub(name, said[row]) for row in asked]
            scores = context.backbone.encode_text(texts, lora) @ images(context, others, lora).T
            right = scores[torch.arange(len(asked)), places]
            share = float(((scores >= right[:, None]).sum(1) <= FIRST).float().mean())
            rows.append({"word": word, "photos": photos, "captions": len(asked), "R@10": round(100 * share, 2)})
    return rows


def mean(result: Mapping[str, Any], names: str, photos: int, wordings: Sequence[str], measure: str) -> list[float]:
    """Mean over domains with its interval."""
    found: dict[str, list[float]] = {}
    for row in result["names"]:
        if row["names"] == names and row["photos"] == photos and row["wording"] in wordings:
            found.setdefault(row["domain"], []).append(row[measure])
    return statistics.interval([float(np.mean(values)) for values in found.values()])


def forgot(result: Mapping[str, Any], on: str, what: str) -> str:
    """Mean points lost over domains with its interval, as text."""
    found: dict[str, list[float]] = {}
    for row in result["forgotten"]:
        if row["on"] == on and what in row:
            found.setdefault(row["domain"], []).append(row[what])
    return markdown.difference(statistics.interval([float(np.mean(v)) for v in found.values()])) if found else "not measured"


def findings(result: Mapping[str, Any]) -> list[str]:
    """What three photos do, what they cost, and whether a name can be part of a sentence."""
    domains = len({row["domain"] for row in result["names"]})
    after, before = (mean(result, "nonsense", n, [PLAIN], "right") for n in (3, 0))
    ten, real = mean(result, "nonsense", 3, [PLAIN], "ten"), mean(result, "real", 0, [PLAIN], "right")
    said = [
        f"After three photos a made-up name is the best of up to {MOST} for {_share(after)} of new photos of it "
        f"({before[0]:.0f} before; the real names, zero-shot, {real[0]:.0f}), over {domains} domains.",
        f"Beside {OTHERS:,} everyday photos, {_share(ten)} of the first ten photos for such a name show it.",
        f"{MOST} names or fewer cost captions {forgot(result, 'zero-shot', 'captions')} points of R@10 "
        f"zero-shot and {forgot(result, 'adapter', 'captions')} on top of an adapter, and class names "
        f"{forgot(result, 'zero-shot', 'class names')} points of R@1.",
    ]
    if result["composed"]:
        recall = {n: np.mean([r["R@10"] for r in result["composed"] if r["photos"] == n]) for n in (None, 0, 3)}
        words = markdown.listed(list(dict.fromkeys(row["word"] for row in result["composed"])))
        said.append(
            f"In captions whose {words} became a made-up name, R@10 is {recall[0]:.0f} untaught, {recall[3]:.0f} after three "
            f"photos, and {recall[None]:.0f} with the word itself."
        )
    return said


def _share(interval: Sequence[float]) -> str:
    value, low, high = interval
    return f"{value:.0f} % [{low:.0f}, {high:.0f}]"


def table(result: Mapping[str, Any]) -> str:
    """By photos a name, for real and made-up names, in the template and in other wordings; what is lost; composition."""
    rows = []
    for kind in ("real", "nonsense"):
        for photos in (0, *PHOTOS):
            ways = [([PLAIN], "right"), (WORDINGS[1:], "right"), ([PLAIN], "ten"), (WORDINGS[1:], "ten")]
            rows.append([kind, str(photos), *(_share(mean(result, kind, photos, w, m)) for w, m in ways)])
    head = ["names", "photos", f"right name, “{PLAIN}”", "in other wordings", "of the first ten", "in other wordings"]
    domains = list(dict.fromkeys(row["domain"] for row in result["names"]))
    own = []
    for domain in domains:
        alone = {"names": [row for row in result["names"] if row["domain"] == domain]}
        values = [mean(alone, "real", 0, [PLAIN], "right"), *(mean(alone, "nonsense", n, [PLAIN], "right") for n in PHOTOS)]
        own.append([domain, *(f"{value[0]:.0f}" for value in values)])
    costs = [[on, *(forgot(result, on, what) for what in ("captions", "class names"))] for on in ("zero-shot", "adapter")]
    parts = [
        markdown.table(head, rows),
        "Right name, by domain\n\n"
        + markdown.table(["domain", "real, zero-shot", *(f"made-up, {n} photos" for n in PHOTOS)], own),
        "Points lost by questions without a taught name\n\n"
        + markdown.table(["taught on top of", "captions, R@10", "class names, R@1"], costs),
    ]
    words = list(dict.fromkeys(row["word"] for row in result["composed"]))
    if words:
        cells = {(row["word"], row["photos"]): row for row in result["composed"]}
        lines = [
            [f"{word} ({cells[word, 0]['captions']} captions)", *(f"{cells[word, n]['R@10']:.0f}" for n in (None, 0, *PHOTOS))]
            for word in words
        ]
        head = ["R@10 of captions with", "the word itself", "a made-up name", *(f"taught, {n} photos" for n in PHOTOS)]
        parts.append(f"A name in a caption\n\n{markdown.table(head, lines)}")
    return "\n\n".join(parts)


def plot(result: Mapping[str, Any]) -> Figure:
    """Right name and first ten by the number of photos, for real and made-up names."""
    figure, axes = figures.panels(2, 2.4)
    for panel, (measure, title) in zip(axes, {"right": "right name", "ten": "of the first ten"}.items(), strict=True):
        for kind, colour in (("real", figures.SECOND), ("nonsense", figures.ACCENT)):
            rows = [mean(result, kind, n, [PLAIN], measure) for n in (0, *PHOTOS)]
            figures.band(panel, range(len(rows)), rows, f"{kind} names", colour)
        panel.set_xticks(range(len(PHOTOS) + 1), [str(n) for n in (0, *PHOTOS)])
        panel.set_title(f"{title}, percent, by photos a name")
    axes[0].legend()
    return figure
