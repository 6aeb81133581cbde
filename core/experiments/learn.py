"""Do keywords that photos have teach the search, for photos that no expert knows?"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.common import markdown
from core.common.text import listed
from core.experiments import statistics
from core.experiments.context import ExperimentContext
from core.experiments.known import suggestion
from core.experiments.runner import Row
from core.experiments.teach import FEWEST, among_first, asked, everyday, over, taught
from core.experiments.teach import adapter as searched_with
from core.names.ridge import Background
from core.names.teach import MAX_PHOTOS, TaughtNames
from core.retrieval import columns
from core.retrieval.adapter import ZERO_SHOT, Adapter
from core.retrieval.columns import photo_rows
from core.retrieval.gallery import Entry, GalleryPhotos, Photo
from core.retrieval.gaps import proposals
from core.retrieval.learning import average_precision, learn
from core.retrieval.popularity import spread_rows
from core.retrieval.questions import Query
from core.sglora.request import AdapterRequest
from core.training.corpus import OBJECTS, Corpus

PHOTOS = (3, 10, MAX_PHOTOS)  # that a keyword is taught from, at most
WRONG = 0.05  # share of photos with a wrong keyword
ZERO, NONE, SENTENCE = "zero-shot", "no sentence", "SG-LoRA, the sentence that the page suggests"
ASKED = (50, 80, 90, 95)  # shares of right proposals, in percent
ALL, SETS = "all keywords at once", "one kind of photos at a time"
FIRST, PRECISION = "first", "AP"


@dataclass(frozen=True)
class Keyword:
    """A class name of labelled photos of special domains: its first domain, and the rows that teach and measure it."""

    name: str
    domain: str
    train: np.ndarray
    test: np.ndarray


def keywords(corpus: Corpus) -> list[Keyword]:
    """Class names of all domains that did not train the frozen model. Equal names of several domains are one keyword."""
    rows, domains = defaultdict[str, list[np.ndarray]](list), dict[str, str]()
    for domain, classes in sorted(corpus.classes.items()):
        for label, own in sorted(classes.items()) if domain != OBJECTS else ():
            rows[label].append(own)
            domains.setdefault(label, domain)
    together = {label: np.sort(np.concatenate(own)) for label, own in rows.items()}
    found = [Keyword(label, domains[label], own[corpus.train[own]], own[corpus.test[own]]) for label, own in together.items()]
    return [each for each in found if len(each.train) >= 10 and len(each.test) >= FEWEST]


def in_memory(corpus: Corpus, rows: np.ndarray) -> GalleryPhotos:
    """Some of the corpus's photos as a gallery, with their numbers there as ids."""
    prefixes = corpus.prefixes[torch.from_numpy(rows)]
    each = zip(map(str, rows), prefixes, photo_rows(corpus.backbone, prefixes), strict=True)
    return GalleryPhotos(corpus.backbone, {id: Entry(Photo(id, id, b""), prefix, row) for id, prefix, row in each})


def run(context: ExperimentContext) -> dict[str, Any]:
    """{"rows": {"group", "task": the keyword, "domain", "variant", "first", "AP"}, "learned": rows of the AP on new photos of
    each keyword, "before" and "taught", and whether it was "learned", "price": points of R@10 that captions lose, "proposals":
    as ``proposed`` yields them}."""
    corpus, found = context.corpus, keywords(context.corpus)
    others, rows = everyday(corpus), list[Row]()
    kinds = [[each for each in found if each.domain == domain] for domain in sorted({each.domain for each in found})]
    for group, sets in ((ALL, [found]), (SETS, [own for own in kinds if len(own) > 1])):
        for own in sets:
            searched = np.concatenate([*(each.test for each in own), others])
            index = corpus.indexed(searched, searched_with(context))
            for variant, texts in queries(context, own, index):
                rows += ({"group": group, "variant": variant, **row} for row in measured(own, searched, index, texts))
            context.log(f"{group}: {', '.join(sorted({each.domain for each in own}))}")
    some = found[::5]
    return {
        "rows": rows,
        "learned": learned(context, found, others),
        "price": price(context, found, others),
        "proposals": [*proposed(context, found, found, others), *proposed(context, found, some, others)],
    }


def queries(context: ExperimentContext, found: Sequence[Keyword], index: Tensor) -> Iterator[tuple[str, Tensor]]:
    """(variant, query rows [n, w]) of the keywords."""
    backbone, words = context.backbone, [each.name for each in found]
    yield ZERO, columns.text_rows(backbone, backbone.text_prefix(words), ZERO_SHOT)
    yield NONE, asked(context, TaughtNames(backbone), words)
    adapter = suggested(context, found)
    yield SENTENCE, torch.stack([Query((word,)).question(backbone).row(backbone, adapter) for word in words])
    background = Background.of(columns.columns(backbone, index))
    rng = np.random.default_rng(0)
    for n in PHOTOS:
        right = [each.train[spread_rows(len(each.train), n)] for each in found]
        wrong = [np.where(rng.random(len(own)) < WRONG, rng.choice(np.concatenate(right), len(own)), own) for own in right]
        yield f"class mean, {n}", means(context, right)
        for variant, rows in ((f"names, {n}", right), (f"names, {n}, wrong", wrong)):
            yield variant, asked(context, taught(context, words, rows).among(background), words)


def suggested(context: ExperimentContext, found: Sequence[Keyword]) -> Adapter:
    """SG-LoRA's adapter for the first sentence that the page suggests for these photos; without one, search's own."""
    sentence = suggestion(context.engine, context.corpus, np.concatenate([each.test for each in found]))
    if sentence is None:
        return searched_with(context)
    adaptation = context.engine.adapt(AdapterRequest(sentence))
    return Adapter.of(adaptation.lora, adaptation.weight)


def means(context: ExperimentContext, taught: Sequence[np.ndarray]) -> Tensor:
    """The control: query rows [n, w] whose columns are the mean of the photos that teach each keyword."""
    prefixes = [context.corpus.prefixes[torch.from_numpy(own)] for own in taught]

    def mean(lora: Any) -> Tensor:
        return F.normalize(torch.stack([context.backbone.suffix(own, lora).mean(0) for own in prefixes]), dim=-1)

    return columns.asked(context.backbone, searched_with(context), mean)


def measured(found: Sequence[Keyword], searched: np.ndarray, index: Tensor, texts: Tensor) -> Iterator[Row]:
    """In percent: "first", photos of a keyword for which it is the best of all; "AP", its average precision among all
    photos."""
    scores = (texts @ index.T).numpy()
    best = scores.argmax(0)
    for place, keyword in enumerate(found):
        right = np.isin(searched, keyword.test)
        shares = {FIRST: (best[right] == place).mean(), PRECISION: average_precision(scores[place], right)}
        yield {"task": keyword.name, "domain": keyword.domain, **{key: round(100 * float(v), 2) for key, v in shares.items()}}


def learned(context: ExperimentContext, found: Sequence[Keyword], others: np.ndarray) -> list[Row]:
    """What ``learn`` keeps, from the photos that train and everyday photos beside them; measured on the test photos."""
    corpus, words = context.corpus, [each.name for each in found]
    beside = np.flatnonzero(corpus.scenes & corpus.train)
    searched = np.unique(np.concatenate([*(each.train for each in found), beside[spread_rows(len(beside))]]))
    rows = {each.name: np.flatnonzero(np.isin(searched, each.train)).tolist() for each in found}
    made = learn(in_memory(corpus, searched), rows, searched_with(context))
    kept = {keyword.name for keyword in made.keywords if keyword.reason is None}
    searched = np.concatenate([*(each.test for each in found), others])
    index = corpus.indexed(searched, searched_with(context))
    names = made.names.among(Background.of(columns.columns(context.backbone, index)))
    before, after = (
        list(measured(found, searched, index, asked(context, each, words))) for each in (TaughtNames(context.backbone), names)
    )
    return [
        {"task": old["task"], "domain": old["domain"], "learned": old["task"] in kept}
        | {"before": old[PRECISION], "taught": new[PRECISION]}
        for old, new in zip(before, after, strict=True)
    ]


def price(context: ExperimentContext, found: Sequence[Keyword], others: np.ndarray) -> dict[str, float]:
    """Points of R@10 that captions of everyday photos lose in search with all keywords, each taught from ten photos."""
    corpus, words = context.corpus, [each.name for each in found]
    names = taught(context, words, [each.train[spread_rows(len(each.train), 10)] for each in found])
    captions = [corpus.captions(row)[0] for row in others.tolist()]
    index, own = corpus.indexed(others, searched_with(context)), torch.arange(len(others))
    old, new = (among_first(asked(context, each, captions) @ index.T, own) for each in (TaughtNames(context.backbone), names))
    with_one = sum(bool(names.within(caption)) for caption in captions)
    return {"captions": len(captions), "with a keyword": with_one, "points": round(old - new, 2)}


def proposed(
    context: ExperimentContext, found: Sequence[Keyword], there: Sequence[Keyword], others: np.ndarray
) -> Iterator[Row]:
    """How many proposals are right among those of which so many should be, and for how many photos there are such. All names
    are taught from ten photos; test photos of the keywords that are ``there`` and everyday photos have no keyword."""
    names = taught(context, [each.name for each in found], [each.train[spread_rows(len(each.train), 10)] for each in found])
    searched = np.unique(np.concatenate([*(each.test for each in there), others]))
    photos, test = in_memory(context.corpus, searched), {each.name: set(each.test.tolist()) for each in there}
    made = proposals(photos, names.among(photos.background), searched_with(context))
    right = np.array([int(searched[each.row]) in test.get(each.name, ()) for each in made])
    for share in ASKED:
        chosen = np.array([100 * each.right >= share for each in made])
        counts = {"right": round(100 * float(right[chosen].mean()), 1) if chosen.any() else None}
        yield {"keywords": len(there), "asked": share, **counts, "photos": int(chosen.sum()), "of": len(photos)}


def decides(result: Mapping[str, Any]) -> statistics.Interval:
    """Ten photos of each keyword minus none: the right keyword first, all at once."""
    rows = [row | {"task": row["domain"]} for row in result["rows"] if row["group"] == ALL]
    return statistics.difference(rows, "names, 10", NONE, FIRST)


def findings(result: Mapping[str, Any]) -> list[str]:
    share = partial(_share, result["rows"])
    learned, price = result["learned"], result["price"]
    kept = [row for row in learned if row["learned"]]
    gains = [row["taught"] - row["before"] for row in kept]
    before, after = (float(np.mean([row[key] for row in kept])) for key in ("before", "taught"))
    return [
        f"{len(learned)} keywords at once: the right one comes first for {share(ALL, NONE, FIRST)} of photos without teaching, "
        f"{share(ALL, 'names, 3', FIRST)} after three photos of each and {share(ALL, 'names, 10', FIRST)} after ten; "
        f"average precision {share(ALL, NONE, PRECISION)}, {share(ALL, 'names, 3', PRECISION)} and "
        f"{share(ALL, 'names, 10', PRECISION)}.",
        f"`learn` kept {len(kept)} keywords. On new photos {sum(gain > 0 for gain in gains)} of them find more; their average "
        f"precision rises from {before:.0f} to {after:.0f}.",
        f"With {100 * WRONG:.0f} % of the photos under a wrong keyword, average precision from ten is "
        f"{share(ALL, 'names, 10, wrong', PRECISION)}.",
        *_calibrated(result["proposals"], len(learned)),
        f"{price['captions']:,} captions of everyday photos lose {price['points']:.1f} points of R@10; "
        f"{price['with a keyword']} of them contain a keyword that is read in them.",
    ]


def _calibrated(proposals: Sequence[Row], keywords: int) -> Iterator[str]:
    for there in dict.fromkeys(row["keywords"] for row in proposals):
        rows = [row for row in proposals if row["keywords"] == there and row["right"] is not None]
        if not rows:  # nothing is as sure
            continue
        counts = [f"{row['asked']} % should be right, {row['right']:.0f} % are ({row['photos']} photos)" for row in rows]
        yield f"Proposals for {rows[0]['of']:,} photos, some with {there} of the {keywords} keywords: where {listed(counts)}."


def _share(rows: Sequence[Row], group: str, variant: str, measure: str) -> str:
    return "{:.0f} % [{:.0f}, {:.0f}]".format(*over("domain", rows, measure, group=group, variant=variant))


def table(result: Mapping[str, Any]) -> str:
    variants = dict.fromkeys(row["variant"] for row in result["rows"])
    ways = [(group, measure) for group in (ALL, SETS) for measure in (FIRST, PRECISION)]
    head = ["keywords", *(f"{group}: {'right one first' if m == FIRST else 'average precision'}" for group, m in ways)]
    return markdown.table(head, [[v, *(_share(result["rows"], group, v, m) for group, m in ways)] for v in variants])
