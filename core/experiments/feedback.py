"""Do marks on the first ten results find the rest, and what do other questions lose?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from core.common import markdown
from core.experiments import statistics
from core.experiments.context import ExperimentContext
from core.experiments.teach import FIRST, adapter, everyday, unrelated
from core.names.teach import TaughtNames
from core.retrieval.columns import text_rows

ROUNDS = (0, 1, 2, 3)
FEWEST = 12  # photos that fit a question
SAID = 2  # captions of a photo, of five, that must have the word
# Written before measuring any.
WORDS = (
    "dog,beach,snow,bike,water,grass,mountain,car,street,ball,horse,boat,bird,baby,football,pool,rock,field,tree,hat,"
    "motorcycle,swing,crowd,bench,soccer,skateboard,river,forest,stick,camera"
).split(",")


def run(context: ExperimentContext) -> dict[str, Any]:
    """{"searches": rows of {"word", "round", "photos", "rest", "plain", "learned", "lost"}}: counts, percent, points."""
    corpus, backbone, searches = context.corpus, context.backbone, []
    base = backbone.shared
    usual = adapter(backbone, base)
    rows = everyday(corpus)
    photos = corpus.indexed(rows, usual)
    prefixes = corpus.prefixes[torch.from_numpy(rows)]
    captions = [corpus.captions(row) for row in rows]
    for word in WORDS:
        pattern = re.compile(rf"\b{word}s?\b", re.IGNORECASE)
        right = torch.tensor([sum(bool(pattern.search(text)) for text in texts) >= SAID for texts in captions])
        if int(right.sum()) < FEWEST:
            continue
        others = rows[[not pattern.search(texts[0]) for texts in captions]]
        prefix, recalls = backbone.text_prefix([word]), unrelated(context, others)
        plain, names = photos @ text_rows(backbone, prefix, usual)[0], TaughtNames(backbone)
        before = recalls(usual)["captions"]
        marked = torch.zeros(len(rows), dtype=torch.bool)
        for number in ROUNDS:
            named = adapter(backbone, base, names)
            learned = photos @ text_rows(backbone, prefix, named)[0]
            rest = int((right & ~marked).sum())
            row: dict[str, Any] = {"word": word, "round": number, "photos": int(right.sum()), "rest": rest}
            for way, scores in {"plain": plain, "learned": learned}.items():
                row[way] = 100 * precision(scores[~marked], right[~marked])
            row["lost"] = before - recalls(named)["captions"]
            if rest:
                searches.append(row)
            marked[learned.masked_fill(marked, -torch.inf).topk(FIRST).indices] = True
            if (right & marked).any():
                names = TaughtNames(backbone).add(word, prefixes[right & marked], prefixes[marked & ~right])
    return {"searches": searches}


def precision(scores: torch.Tensor, right: torch.Tensor) -> float:
    """Share of right photos among the first n, where n is the number of right photos."""
    n = int(right.sum())
    return float(right[scores.topk(n).indices].float().mean()) if n else 0.0


def mean(result: Mapping[str, Any], number: int, measure: str) -> list[float]:
    """Mean over words with its interval; "gain" is learned minus plain."""
    rows = [row for row in result["searches"] if row["round"] == number]
    return statistics.interval([row["learned"] - row["plain"] if measure == "gain" else row[measure] for row in rows])


def findings(result: Mapping[str, Any]) -> list[str]:
    words = len({row["word"] for row in result["searches"]})
    plain, after = mean(result, 1, "plain"), mean(result, 1, "learned")
    return [
        f"After ten marks, {after[0]:.0f} % of the unmarked photos that fit are found, without the marks {plain[0]:.0f} % "
        f"({markdown.difference(mean(result, 1, 'gain'))} points over {words} questions); after three "
        f"rounds {markdown.difference(mean(result, 3, 'gain'))} points.",
        f"Captions without the word lose {markdown.difference(mean(result, 1, 'lost'))} points of R@10 after one round and "
        f"{markdown.difference(mean(result, 3, 'lost'))} after three.",
    ]


def table(result: Mapping[str, Any]) -> str:
    rows = [
        [str(n), *(f"{mean(result, n, m)[0]:.1f}" for m in ("plain", "learned"))]
        + [markdown.difference(mean(result, n, m)) for m in ("gain", "lost")]
        for n in ROUNDS
    ]
    return markdown.table(["rounds", "rest found, question alone", "with marks", "gain", "R@10 that other captions lose"], rows)
