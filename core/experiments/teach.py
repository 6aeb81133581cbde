"""Does a name taught from a few photos find more of them, in any wording, and what does it make the model forget?"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.common import markdown
from core.common.text import listed
from core.experiments import statistics
from core.experiments.context import ExperimentContext
from core.experiments.runner import Row
from core.names.ridge import Background
from core.names.teach import MAX_PHOTOS, TaughtNames
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import columns, text_rows
from core.retrieval.line import MOST_ASKED, bisect
from core.retrieval.name_scores import proposed_cut, scores_left_out
from core.retrieval.popularity import spread_rows
from core.retrieval.questions import Query
from core.sglora.repository import CLASS_NAMES
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
ANSWERS = "answers"  # beside RULES: the line that MOST_ASKED answers draw
WORDINGS = (PLAIN, "{}", "{} outdoors", "a picture of my {}")
# A made-up name, taught from photos of the word, replaces the word in captions.
WORDS = "dog bike ball horse boat bird car motorcycle man woman child girl boy beach snow water grass street".split()
FEWEST_CAPTIONS = 8
# What questions without a taught name lose with an adapter that holds all names, as other programs get it. In search they lose
# nothing. Class names are among the ordinary texts that teaching holds, other names are not.
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
    """{"names": rows of {"domain", "names", "photos", "wording", "right", "ten"}, "forgotten": rows of {"domain"} and the
    points that each of LOST loses, "cuts": see ``cuts``, "composed": rows of {"word", "photos", "captions", "R@10"}}."""
    corpus, others = context.corpus, everyday(context.corpus)
    results, forgotten, ends = list[Row](), list[Row](), list[Row]()
    beside, before = corpus.indexed(others, adapter(context)), unrelated(context, others, TaughtNames(context.backbone))
    for domain, draw in draws(corpus):
        held = [corpus.indexed(rows, adapter(context)) for rows in draw.held]
        searched = torch.cat([beside, *held])
        background = Background.of(columns(context.backbone, searched))
        for kind, names in (("real", draw.labels), ("nonsense", draw.nonsense)):
            for photos in (0, *PHOTOS):
                made = taught(context, names, draw.taught, photos).among(background)
                for wording in WORDINGS:
                    about = {"domain": domain, "names": kind, "photos": photos, "wording": wording}
                    results.append(about | measured(asked(context, made, map(wording.format, names)), held, beside))
        if all(row["domain"] != domain for row in ends):
            ends += [{"domain": domain, **row} for row in cuts(context, draw, others, searched)]
        after = unrelated(context, others, taught(context, draw.nonsense, draw.taught, 3))
        lost = {measure: before[measure] - value for measure, value in after.items()}
        if other_names := [lost[each] for each in lost if each not in (*LOST, domain)]:
            lost[OTHER_NAMES] = float(np.mean(other_names))
        forgotten.append({"domain": domain, **{measure: round(lost[measure], 2) for measure in LOST if measure in lost}})
        context.log(domain)
    return {"names": results, "forgotten": forgotten, "cuts": ends, "composed": [*composed(context, others, beside)]}


def cuts(context: ExperimentContext, draw: Draw, others: np.ndarray, searched: Tensor) -> Iterator[Row]:
    """Precision and recall of the photos above each of RULES and of ANSWERS. ``searched``: the index entries of the rows of
    ``others`` and of the draw's held photos. Every second name chooses the rule, the others measure it."""
    rows = np.concatenate([others, *draw.held])
    own = torch.tensor([-1] * len(others) + [i for i, each in enumerate(draw.held) for _ in each])
    background = Background.of(columns(context.backbone, searched))
    for photos in PHOTOS[1:]:
        names = taught(context, draw.nonsense, draw.taught, photos).among(background)
        scores = searched @ asked(context, names, draw.nonsense).T
        left_out_scores = scores_left_out(names, adapter(context))
        for i, entry in enumerate(names.entries):
            left_out, mine = left_out_scores[entry.name].own, own == i
            above = {rule: scores[:, i] >= cut(left_out) for rule, cut in RULES.items()}
            above[ANSWERS] = above_answers(context, names, entry.name, searched, rows, mine)
            for rule, found in above.items():
                right, most, all_of_it = (int(each.sum()) for each in (found & mine, found, mine))
                about = {"photos": photos, "part": "validation" if i % 2 else "test", "rule": rule}
                shares = {"precision": right / max(most, 1), "recall": right / all_of_it, "F1": 2 * right / (most + all_of_it)}
                yield about | {measure: round(100 * share, 2) for measure, share in shares.items()}


def above_answers(
    context: ExperimentContext, names: TaughtNames, name: str, searched: Tensor, rows: np.ndarray, mine: Tensor
) -> Tensor:
    """The photos [n] bool above the line that MOST_ASKED answers draw, as on the page (``app.actions.line``): a yes teaches the
    name, a no takes its photo out. ``searched``: index entries of ``rows``. ``mine``: which of them show the name."""
    answers, taught_at = dict[int, bool](), list[int]()
    while True:
        order = (searched @ asked(context, names, [name])[0]).argsort(descending=True).tolist()
        place_of = {photo: place for place, photo in enumerate(order)}
        placed = [(place_of[photo], yes) for photo, yes in answers.items()] + [(place, True) for place in taught_at]
        line, place = bisect(placed, len(order), (place_of[photo] for photo in order if photo not in answers))
        if place is None or len(answers) == MOST_ASKED:
            found = torch.zeros(len(order), dtype=torch.bool)
            found[[photo for photo in order[:line] if answers.get(photo) is not False]] = True
            return found
        photo = order[place]
        answers[photo] = bool(mine[photo])
        if answers[photo]:
            taught_at.append(place)
            names = names.add(name, context.corpus.prefixes[torch.from_numpy(rows[[photo]])])


def adapter(context: ExperimentContext, names: TaughtNames | None = None) -> Adapter:
    """What the page searches with if there is no sentence, with taught names in both halves of a mixed score."""
    return usual_adapter(context.backbone, context.backbone.shared).with_names(names or TaughtNames(context.backbone))


def everyday(corpus: Corpus) -> np.ndarray:
    """Rows of OTHERS captioned test photos of everyday scenes."""
    rows = np.flatnonzero(corpus.scenes & corpus.test)
    return rows[spread_rows(len(rows), OTHERS)]


def taught(
    context: ExperimentContext, names: Sequence[str], rows: Sequence[np.ndarray], photos: int = MAX_PHOTOS
) -> TaughtNames:
    """Names taught from the first ``photos`` photos of each; no names if ``photos`` is 0."""
    each, prefixes = zip(names, rows, strict=True) if photos else (), context.corpus.prefixes
    return TaughtNames(context.backbone).add_all((name, prefixes[torch.from_numpy(own[:photos])], None) for name, own in each)


def asked(context: ExperimentContext, names: TaughtNames, questions: Iterable[str]) -> Tensor:
    """Query rows [n, w] of questions, as search asks them."""
    encoded = [Query((question,)).question(names.backbone) for question in questions]
    return torch.stack([query.row(names.backbone, adapter(context, names)) for query in encoded])


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


def among_first(scores: Tensor, right: Tensor) -> float:
    """The share of rows of scores [n, m], in percent, whose right column is among the FIRST."""
    return 100 * float(((scores >= scores.gather(1, right[:, None])).sum(1) <= FIRST).float().mean())


def unrelated(context: ExperimentContext, rows: np.ndarray, names: TaughtNames) -> dict[str, float]:
    """Recalls of questions without a taught name, in percent: R@10 of the first caption of each of these photos, and R@1 of
    each of ``named_sets``, by its name. The adapter is that of ``core.experts.adapter_files.with_names`` without a sentence."""
    corpus, lora = context.corpus, names.on(context.backbone.shared)
    adapter = ZERO_SHOT if lora is None else Adapter.of(lora)
    captions = text_rows(context.backbone, corpus.texts[[int(corpus.own_texts[row][0]) for row in rows]], adapter)
    found = among_first(captions @ corpus.indexed(rows, adapter).T, torch.arange(len(rows)))
    return {CAPTIONS: found, **{each.name: each.share(corpus, adapter) for each in named_sets(corpus)}}


def composed(context: ExperimentContext, others: np.ndarray, beside: Tensor) -> Iterator[Row]:
    """R@10 of captions in which a made-up name, taught from photos of a word, replaces the word; DRAWS draws of photos.
    ``photos``: None is the word itself. ``beside``: the index entries of ``others``; names do not change them."""
    corpus = context.corpus
    captions = {row: corpus.captions(row)[0] for row in np.flatnonzero(corpus.scenes).tolist()}
    for number, word in enumerate(WORDS):
        pattern = re.compile(rf"\b{word}\b", re.IGNORECASE)
        right = [place for place, row in enumerate(others) if pattern.search(captions[int(row)])]
        train = np.array([row for row, text in captions.items() if corpus.train[row] and pattern.search(text)])
        if len(right) < FEWEST_CAPTIONS or len(train) < max(PHOTOS):
            continue
        name, shuffled = NONSENSE[number], np.random.default_rng(number).permutation(train)
        for photos in (None, 0, *PHOTOS):
            texts = [captions[int(others[place])] for place in right]
            questions, shares = texts if photos is None else [pattern.sub(name, text) for text in texts], []
            for draw in range(min(DRAWS, len(train) // photos) if photos else 1):
                names = taught(context, [name], [shuffled[draw * (photos or 0) :]], photos or 0)
                shares.append(among_first(asked(context, names, questions) @ beside.T, torch.tensor(right)))
            yield {"word": word, "photos": photos, "captions": len(right), "R@10": round(float(np.mean(shares)), 2)}


def over(by: str, rows: Sequence[Mapping[str, Any]], measure: str, **where: object) -> statistics.Interval:
    """The mean of the rows with these values over domains or words, with its interval."""
    groups = statistics.grouped((row for row in rows if where.items() <= row.items()), by)
    return statistics.interval([float(np.mean([row[measure] for row in own])) for own in groups.values()])


def decides(result: Mapping[str, Any]) -> statistics.Interval:
    """Three photos of a made-up name minus none."""
    plain = [row for row in result["names"] if row["wording"] == PLAIN and row["names"] == "nonsense"]
    rows = [row | {"task": row["domain"], "variant": str(row["photos"])} for row in plain]
    return statistics.difference(rows, "3", "0", "right")


def findings(result: Mapping[str, Any]) -> Iterator[str]:
    plain = [row for row in result["names"] if row["wording"] == PLAIN]
    domains = len({row["domain"] for row in plain})
    after, before = (over("domain", plain, "right", names="nonsense", photos=n) for n in (3, 0))
    ten, real = over("domain", plain, "ten", names="nonsense", photos=3), over("domain", plain, "right", names="real", photos=0)
    yield (
        f"After three photos a made-up name is the best of up to {MOST} for {_share(after)} of new photos of it "
        f"({before[0]:.0f} before; the real names, untaught, {real[0]:.0f}), over {domains} domains."
    )
    yield f"Beside {OTHERS:,} everyday photos, {_share(ten)} of the first ten photos for such a name show it."
    best = max(RULES, key=lambda rule: over("domain", result["cuts"], "F1", part="validation", rule=rule)[0])
    for photos in PHOTOS[1:]:
        where = {"part": "test", "rule": best, "photos": photos}
        right, found = (_share(over("domain", result["cuts"], measure, **where)) for measure in ("precision", "recall"))
        yield f"Above the score proposed after {photos} photos, {right} show the name: {found} of its photos."
        if drawn := [row for row in result["cuts"] if row["rule"] == ANSWERS and row["photos"] == photos]:
            right, found = (_share(over("domain", drawn, measure)) for measure in ("precision", "recall"))
            yield f"Above the line that {MOST_ASKED} answers draw, {right} do: {found} of its photos."
    if result["composed"]:
        words = listed(list(dict.fromkeys(row["word"] for row in result["composed"])))
        recalls = {n: over("word", result["composed"], "R@10", photos=n) for n in (None, 0, *PHOTOS)}
        each = ", ".join(f"{_share(recalls[n])} after {n} photos" for n in PHOTOS)
        yield (
            f"In captions whose {words} became a made-up name, R@10 is {recalls[0][0]:.0f} untaught, {each}, and "
            f"{recalls[None][0]:.0f} with the word itself."
        )


def _share(interval: Sequence[float]) -> str:
    return "{:.0f} % [{:.0f}, {:.0f}]".format(*interval)


def table(result: Mapping[str, Any]) -> str:
    head = ["names", "photos", f"right name, “{PLAIN}”", "in other wordings", "of the first ten", "in other wordings"]
    plain, others = ([row for row in result["names"] if (row["wording"] == PLAIN) == is_plain] for is_plain in (True, False))
    ways = [(rows, measure) for measure in ("right", "ten") for rows in (plain, others)]
    lines = [
        [kind, str(n), *(_share(over("domain", rows, measure, names=kind, photos=n)) for rows, measure in ways)]
        for kind in ("real", "nonsense")
        for n in (0, *PHOTOS)
    ]
    lost = {m: over("domain", rows, m) for m in LOST if (rows := [row for row in result["forgotten"] if m in row])}
    costs = markdown.table([LOST[m] for m in lost], [[markdown.difference(points) for points in lost.values()]])
    note = "Points lost by questions without a taught name, with an adapter for other programs"
    return f"{markdown.table(head, lines)}\n\n{note}\n\n{costs}"
