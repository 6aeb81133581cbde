"""Does a name taught from a few photos find more of them, in any wording, and what does it make the model forget?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from core.backbones.base import Backbone
from core.backbones.lora import Lora
from core.common import markdown
from core.common.text import listed
from core.experiments import figures, statistics
from core.experiments.context import ExperimentContext
from core.names.teach import TaughtNames
from core.retrieval.adapter import Adapter
from core.retrieval.columns import text_rows
from core.retrieval.name_scores import proposed_cut, scores_left_out
from core.retrieval.popularity import spread_rows
from core.retrieval.questions import EncodedQuery
from core.sglora.repository import CLASS_NAMES
from core.sglora.request import AdapterRequest
from core.training.corpus import OBJECTS, Corpus, usual_adapter
from core.training.forgetting import named_sets

NONSENSE = tuple(
    "wug dax blicket toma fep zorp kiki bouba gazzer modi tulver quillop snarf vex plim drunt yorb masp fendle grib".split()
)
PHOTOS = (1, 3, 10)  # to teach a name from
MOST, DRAWS = 11, 3  # names at once; draws of classes, names and photos
FEWEST = 4  # photos of a class to measure on
OTHERS = 1_000  # everyday photos beside those of a class
FIRST = 10
PLAIN = "a photo of a {}"
RULES = {"mean": lambda own: float(np.mean(own)), "lowest": min, "midway": proposed_cut}  # where a name's photos may end
WORDINGS = (PLAIN, "{}", "{} outdoors", "a picture of my {}")
SENTENCE = "photos of people and animals"  # its adapter is the base of taught names
ZERO, USUAL = "zero-shot", "usual"
SHOWN, COLUMNS = (ZERO, USUAL), (ZERO, USUAL, SENTENCE)
# A made-up name, taught from photos of the word, replaces the word in captions.
WORDS = "dog bike ball horse boat bird car motorcycle man woman child girl boy beach snow water grass street".split()
FEWEST_CAPTIONS = 15
# What questions without a taught name lose. Class names are among the ordinary texts that teaching holds, other names are not.
CAPTIONS, OTHER_NAMES = "captions", "names of other domains"
LOST = {CAPTIONS: "captions, R@10", CLASS_NAMES: "class names, R@1", OTHER_NAMES: f"{OTHER_NAMES}, R@1"}


@dataclass(frozen=True)
class Draw:
    """Some classes of one domain."""

    labels: tuple[str, ...]
    nonsense: tuple[str, ...]  # a made-up name for each
    taught: tuple[np.ndarray, ...]  # rows to teach from, max(PHOTOS) or more per class
    held: tuple[np.ndarray, ...]  # test rows, to measure on


def draws(corpus: Corpus) -> Iterator[tuple[str, Draw]]:
    """DRAWS draws of classes from each labelled domain that did not train the frozen model."""
    for domain, classes in sorted(corpus.classes.items()):
        parts = {label: (rows[corpus.train[rows]], rows[corpus.test[rows]]) for label, rows in sorted(classes.items())}
        usable = [label for label, (train, held) in parts.items() if len(train) >= max(PHOTOS) and len(held) >= FEWEST]
        if domain == OBJECTS or len(usable) < 2:
            continue
        for seed in range(DRAWS):
            rng = np.random.default_rng(seed)
            labels = tuple(rng.permutation(usable)[:MOST].tolist())
            names = tuple(rng.permutation(NONSENSE)[: len(labels)].tolist())
            taught = tuple(rng.permutation(parts[label][0]) for label in labels)
            yield domain, Draw(labels, names, taught, tuple(parts[label][1] for label in labels))


def run(context: ExperimentContext) -> dict[str, Any]:
    """{"names": rows of {"column", "domain", "names", "photos", "wording", "right", "ten"}, "forgotten": rows of {"column",
    "domain"} and the points that each of LOST loses, "cuts": rows of ``cuts``, "composed": rows of {"column", "word",
    "photos", "captions", "R@10"}}."""
    corpus, backbone = context.corpus, context.backbone
    others = everyday(corpus)
    results: list[dict[str, Any]] = []
    forgotten: list[dict[str, Any]] = []
    ends: list[dict[str, Any]] = []
    bases = columns(context)
    plain = {column: adapter(backbone, base) for column, base in bases.items()}
    everyday_photos = {column: corpus.indexed(others, unnamed) for column, unnamed in plain.items()}
    recalls = unrelated(context, others)
    before = {column: recalls(unnamed) for column, unnamed in plain.items()}
    for domain, draw in draws(corpus):
        held = {column: [corpus.indexed(rows, plain[column]) for rows in draw.held] for column in SHOWN}
        for kind, names in (("real", draw.labels), ("nonsense", draw.nonsense)):
            questions = {wording: [wording.format(name) for name in names] for wording in WORDINGS}
            prefixes = {wording: backbone.text_prefix(texts) for wording, texts in questions.items()}
            for photos in (0, *PHOTOS):
                taught_names = taught(context, names, draw.taught, photos)
                for column in SHOWN:
                    named = adapter(backbone, bases[column], taught_names)
                    for wording, texts in questions.items():
                        about = {"column": column, "domain": domain, "names": kind, "photos": photos, "wording": wording}
                        name_rows = asked(texts, prefixes[wording], taught_names, named)
                        results.append(about | measured(name_rows, held[column], everyday_photos[column]))
        if all(row["domain"] != domain for row in ends):
            ends += [{"domain": domain, **row} for row in cuts(context, draw, bases[USUAL], everyday_photos[USUAL])]
        taught_names = taught(context, draw.nonsense, draw.taught, 3)
        for column, base in bases.items():
            after = recalls(adapter(backbone, base, taught_names))
            lost = {measure: before[column][measure] - value for measure, value in after.items()}
            if other_names := [lost[name] for name in lost if name not in (*LOST, domain)]:
                lost[OTHER_NAMES] = float(np.mean(other_names))
            points = {measure: round(lost[measure], 2) for measure in LOST if measure in lost}
            forgotten.append({"column": column, "domain": domain, **points})
        context.log(domain)
    in_captions = composed(context, others, bases, everyday_photos)
    return {"names": results, "forgotten": forgotten, "cuts": ends, "composed": in_captions}


def cuts(context: ExperimentContext, draw: Draw, base: Lora | None, beside: Tensor) -> Iterator[dict[str, Any]]:
    """Precision and recall of the photos above each of RULES, of the draw's and those ``beside``. Every second name chooses the
    rule, the others measure it."""
    backbone, plain = context.backbone, adapter(context.backbone, base)
    held = [context.corpus.indexed(rows, plain) for rows in draw.held]
    for photos in PHOTOS[1:]:
        names = taught(context, draw.nonsense, draw.taught, photos)
        rows = asked(draw.nonsense, backbone.text_prefix(draw.nonsense), names, adapter(backbone, base, names))
        scores = torch.cat([beside, *held]) @ rows.T
        own = torch.tensor([-1] * len(beside) + [i for i, each in enumerate(held) for _ in each])
        for i, entry in enumerate(names.entries):
            left_out = scores_left_out(names, entry, plain)
            for rule, cut in RULES.items():
                found, mine = scores[:, i] >= cut(left_out), own == i
                right, most, all_of_it = (int(each.sum()) for each in (found & mine, found, mine))
                about = {"photos": photos, "part": "validation" if i % 2 else "test", "rule": rule}
                shares = {"precision": right / max(most, 1), "recall": right / all_of_it, "F1": 2 * right / (most + all_of_it)}
                yield about | {measure: round(100 * share, 2) for measure, share in shares.items()}


def columns(context: ExperimentContext) -> dict[str, Lora | None]:
    """The bases of taught names: nothing, the page's adapter without a sentence, and a sentence's adapter."""
    adapted = context.engine.adapt(AdapterRequest(SENTENCE)).lora
    return {ZERO: None, USUAL: context.backbone.shared or adapted, SENTENCE: adapted}


def adapter(backbone: Backbone, base: Lora | None, names: TaughtNames | None = None) -> Adapter:
    """A base with taught names, as search uses it: both halves of a mixed score have the names."""
    return usual_adapter(backbone, base).with_names((names or TaughtNames(backbone)).on)


def everyday(corpus: Corpus) -> np.ndarray:
    """Rows of OTHERS captioned test photos of everyday scenes."""
    rows = np.flatnonzero(corpus.scenes & corpus.test)
    return rows[spread_rows(len(rows), OTHERS)]


def taught(context: ExperimentContext, names: Sequence[str], rows: Sequence[np.ndarray], photos: int) -> TaughtNames:
    """Names taught from the first ``photos`` photos of each; no names if ``photos`` is 0."""
    taught_names = TaughtNames(context.backbone)
    for name, own_rows in zip(names, rows, strict=True) if photos else ():
        taught_names = taught_names.add(name, context.corpus.prefixes[torch.from_numpy(own_rows[:photos])])
    return taught_names


def asked(questions: Sequence[str], prefixes: Tensor, names: TaughtNames, named: Adapter) -> Tensor:
    """Query rows [n, w] of questions with these prefixes, as search asks: longer ones also use photos of their names."""
    queries = [
        EncodedQuery(prefix, torch.ones(1)).with_names(names.within_sentence(text))
        for prefix, text in zip(prefixes.split(1), questions, strict=True)
    ]
    return torch.stack([query.row(names.backbone, named) for query in queries])


def measured(texts: Tensor, held: Sequence[Tensor], beside: Tensor) -> dict[str, float]:
    """Two shares in percent: "right", photos whose own name fits best; "ten", right photos among a name's first ten. ``texts``:
    names [c, w]; ``held``: the photos [n, w] of each name; ``beside``: everyday photos [m, w], which compete for "ten"."""
    beside_scores, right, ten = beside @ texts.T, [], []
    for i, photos in enumerate(held):
        scores = photos @ texts.T  # [photos, names]
        right.append(float((scores.argmax(1) == i).float().mean()))
        first = torch.cat([scores[:, i], beside_scores[:, i]]).topk(min(FIRST, len(photos))).indices
        ten.append(float((first < len(photos)).float().mean()))
    return {"right": round(100 * float(np.mean(right)), 2), "ten": round(100 * float(np.mean(ten)), 2)}


def unrelated(context: ExperimentContext, rows: np.ndarray) -> Callable[[Adapter], dict[str, float]]:
    """A function from an adapter to recalls of questions without a taught name, in percent: R@10 of the first caption of each
    of these photos, and R@1 of each of ``named_sets``, by its name."""
    corpus, backbone = context.corpus, context.backbone
    captions = corpus.texts[torch.tensor([int(corpus.own_texts[row][0]) for row in rows])]
    sets = named_sets(corpus)

    def recalls(adapter: Adapter) -> dict[str, float]:
        scores = text_rows(backbone, captions, adapter) @ corpus.indexed(rows, adapter).T
        found = 100 * float(((scores >= scores.diag()[:, None]).sum(1) <= FIRST).float().mean())
        return {CAPTIONS: found, **{names.name: names.share(corpus, adapter) for names in sets}}

    return recalls


def composed(
    context: ExperimentContext, others: np.ndarray, bases: Mapping[str, Lora | None], photos_of: Mapping[str, Tensor]
) -> list[dict[str, Any]]:
    """R@10 of captions in which a made-up name, taught from photos of a word, replaces the word. ``photos_of``: the index
    entries of ``others``, by column; names do not change them."""
    corpus, backbone, results = context.corpus, context.backbone, []
    captions = {int(row): corpus.strings[int(corpus.own_texts[row][0])] for row in np.flatnonzero(corpus.scenes)}
    for number, word in enumerate(WORDS):
        pattern = re.compile(rf"\b{word}\b", re.IGNORECASE)
        test = [int(row) for row in others if pattern.search(captions[int(row)])]
        train = np.array([row for row, text in captions.items() if corpus.train[row] and pattern.search(text)])
        if len(test) < FEWEST_CAPTIONS or len(train) < max(PHOTOS):
            continue
        name, shuffled = NONSENSE[number], np.random.default_rng(number).permutation(train)
        right = torch.tensor([int(np.flatnonzero(others == row)[0]) for row in test])
        for photos in (None, 0, *PHOTOS):
            questions = [captions[row] if photos is None else pattern.sub(name, captions[row]) for row in test]
            prefixes, names = backbone.text_prefix(questions), taught(context, [name], [shuffled], photos or 0)
            for column in SHOWN:
                named = adapter(backbone, bases[column], names)
                scores = asked(questions, prefixes, names, named) @ photos_of[column].T
                share = ((scores >= scores.gather(1, right[:, None])).sum(1) <= FIRST).float().mean()
                about = {"column": column, "word": word, "photos": photos, "captions": len(test)}
                results.append(about | {"R@10": round(100 * float(share), 2)})
    return results


def mean(
    result: Mapping[str, Any], names: str, photos: int, wordings: Sequence[str], measure: str, column: str = USUAL
) -> list[float]:
    """Mean over domains, with its interval."""
    chosen = [row for row in result["names"] if (row["column"], row["names"], row["photos"]) == (column, names, photos)]
    return _over("domain", [row for row in chosen if row["wording"] in wordings], measure)


def forgot(result: Mapping[str, Any], column: str, measure: str) -> str:
    """Mean points lost over domains with its interval, as text."""
    rows = [row for row in result["forgotten"] if row["column"] == column and measure in row]
    return markdown.difference(_over("domain", rows, measure)) if rows else "not measured"


def _composed(result: Mapping[str, Any], column: str, photos: int | None) -> list[float]:
    rows = [row for row in result["composed"] if (row["column"], row["photos"]) == (column, photos)]
    return _over("word", rows, "R@10")


def _over(by: str, rows: Sequence[Mapping[str, Any]], measure: str) -> list[float]:
    means = statistics.by_task([{**row, "task": row[by], "variant": ""} for row in rows], "", measure)
    return statistics.interval(list(means.values()))


def findings(result: Mapping[str, Any]) -> list[str]:
    domains = len({row["domain"] for row in result["names"]})
    after, before = (mean(result, "nonsense", n, [PLAIN], "right") for n in (3, 0))
    ten, real = mean(result, "nonsense", 3, [PLAIN], "ten"), mean(result, "real", 0, [PLAIN], "right")
    sentences = [
        f"After three photos a made-up name is the best of up to {MOST} for {_share(after)} of new photos of it "
        f"({before[0]:.0f} before; the real names, untaught, {real[0]:.0f}), over {domains} domains.",
        f"Beside {OTHERS:,} everyday photos, {_share(ten)} of the first ten photos for such a name show it.",
        f"{MOST} names or fewer cost captions {forgot(result, USUAL, CAPTIONS)} points of R@10 without a sentence and "
        f"{forgot(result, SENTENCE, CAPTIONS)} with one; class names {forgot(result, USUAL, CLASS_NAMES)} of R@1, names of "
        f"other domains {forgot(result, USUAL, OTHER_NAMES)}.",
    ]
    rows = result["cuts"]
    rule = max(RULES, key=lambda rule: _over("domain", _where(rows, part="validation", rule=rule), "F1")[0])
    for photos in PHOTOS[1:]:
        above = _where(rows, part="test", rule=rule, photos=photos)
        right, found = (_share(_over("domain", above, measure)) for measure in ("precision", "recall"))
        sentences.append(f"Above the score proposed after {photos} photos, {right} show the name: {found} of its photos.")
    if result["composed"]:
        recall = {n: _composed(result, USUAL, n) for n in (None, 0, 3)}
        words = listed(list(dict.fromkeys(row["word"] for row in result["composed"])))
        sentences.append(
            f"In captions whose {words} became a made-up name, R@10 is {recall[0][0]:.0f} untaught, {_share(recall[3])} after "
            f"three photos, and {recall[None][0]:.0f} with the word itself."
        )
    return sentences


def _where(rows: Sequence[Mapping[str, Any]], **values: object) -> list[Mapping[str, Any]]:
    return [row for row in rows if values.items() <= row.items()]


def _share(interval: Sequence[float]) -> str:
    return "{:.0f} % [{:.0f}, {:.0f}]".format(*interval)


def table(result: Mapping[str, Any]) -> str:
    head = ["names", "photos", f"right name, “{PLAIN}”", "in other wordings", "of the first ten", "in other wordings"]
    ways = [([PLAIN], "right"), (WORDINGS[1:], "right"), ([PLAIN], "ten"), (WORDINGS[1:], "ten")]
    parts = []
    for column, title in ((USUAL, "As the page searches without a sentence"), (ZERO, "Zero-shot with names")):
        rows = [
            [kind, str(n), *(_share(mean(result, kind, n, w, m, column)) for w, m in ways)]
            for kind in ("real", "nonsense")
            for n in (0, *PHOTOS)
        ]
        parts.append(f"{title}\n\n{markdown.table(head, rows)}")
    own = []
    for domain in dict.fromkeys(row["domain"] for row in result["names"]):
        alone = {"names": [row for row in result["names"] if row["domain"] == domain]}
        shown = [("real", 0, "right"), *(("nonsense", n, "right") for n in PHOTOS), ("nonsense", 3, "ten")]
        own.append([domain, *(f"{mean(alone, kind, n, [PLAIN], measure)[0]:.0f}" for kind, n, measure in shown)])
    head = ["domain", "real, untaught", *(f"made-up, {n} photos" for n in PHOTOS), "of the first ten, 3 photos"]
    costs = [[column, *(forgot(result, column, measure) for measure in LOST)] for column in COLUMNS]
    parts += [
        f"Right name, by domain\n\n{markdown.table(head, own)}",
        "Points lost by questions without a taught name\n\n" + markdown.table(["taught on top of", *LOST.values()], costs),
    ]
    if result["composed"]:
        head = ["R@10 of captions with", "the word itself", "a made-up name", *(f"taught, {n} photos" for n in PHOTOS)]
        lines = [[column, *(_share(_composed(result, column, n)) for n in (None, 0, *PHOTOS))] for column in SHOWN]
        parts.append(f"A name in a caption\n\n{markdown.table(head, lines)}")
    return "\n\n".join(parts)


def plot(result: Mapping[str, Any]) -> Figure:
    figure, axes = figures.panels(2, 2.4)
    for panel, (measure, title) in zip(axes, {"right": "right name", "ten": "of the first ten"}.items(), strict=True):
        for kind, colour in (("real", figures.SECOND), ("nonsense", figures.ACCENT)):
            rows = [mean(result, kind, n, [PLAIN], measure) for n in (0, *PHOTOS)]
            figures.band(panel, range(len(rows)), rows, f"{kind} names", colour)
        panel.set_xticks(range(len(PHOTOS) + 1), [str(n) for n in (0, *PHOTOS)])
        panel.set_title(f"{title}, percent, by photos a name")
    axes[0].legend()
    return figure
