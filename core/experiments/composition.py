"""Which experts should a repository hold? Gain against their number and against how well they cover what is asked for, and a
greedy rule that picks them, against chance.

Subsets of a fold's experts stand for smaller repositories. Routing, prior and merge see the subset alone; the generator stays
the fold's own, trained on all of its experts, since a generator for each of hundreds of subsets would take days. LoRAs are
applied in full: a confidence was calibrated for no subset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from core.common import markdown
from core.common.metrics import measure
from core.experiments import figures, statistics
from core.experiments.context import ExperimentContext
from core.experiments.controls import Setting, full_strength, softmax_merge
from core.experiments.folds import FOLDS, FoldRecipe, PreparedFold, prepare_fold
from core.sglora.router import SparseRouter

SIZES = (1, 2, 4, 8, 16, 32)
DRAWS = 4
GREEDY, SPREAD, RANDOM, ALL = "greedy", "farthest first", "random", "all experts"
RULES = (GREEDY, SPREAD)
METHODS = {"top-k merge": softmax_merge, "SG-LoRA": full_strength}
ZERO = "zero-shot"
BINS = 6


def greedy(similarity: np.ndarray, count: int) -> list[int]:
    """The order in which to add experts so that, step by step, tasks are covered best (facility location).

    A set covers a task as well as its most similar expert does; each step adds the expert that raises the mean over tasks
    most. The set of the first n is at least 1 - 1/e as good as the best set of n (Nemhauser, Wolsey and Fisher 1978), where
    no similarity is below zero.

    Args:
        similarity: [tasks, experts]. count: how many to pick.
    """
    best = np.full(len(similarity), min(0.0, float(similarity.min())))
    order: list[int] = []
    for _ in range(count):
        gained = np.maximum(similarity, best[:, None]).mean(0)
        gained[order] = -np.inf
        order.append(int(gained.argmax()))
        best = np.maximum(best, similarity[:, order[-1]])
    return order


def farthest_first(similarity: np.ndarray, count: int) -> list[int]:
    """The order that starts in the middle and then always adds the expert least similar to those already there.

    Args:
        similarity: [experts, experts]. count: how many to pick.
    """
    order = [int(similarity.mean(0).argmax())]
    while len(order) < count:
        nearest = similarity[:, order].max(1)
        nearest[order] = np.inf
        order.append(int(nearest.argmin()))
    return order


def orders(embeddings: Tensor, seed: int) -> Iterator[tuple[str, int, list[int]]]:
    """Ways to add experts one by one: (rule, draw, order). They see the descriptions of the fold's own experts alone.

    Args:
        embeddings: [n, s] of the experts' descriptions.
    """
    similarity, n = (embeddings @ embeddings.T).numpy(), len(embeddings)
    yield GREEDY, 0, greedy(similarity, n)
    yield SPREAD, 0, farthest_first(similarity, n)
    rng = np.random.default_rng(seed)
    for draw in range(DRAWS):
        yield RANDOM, draw, rng.permutation(n).tolist()


def run(context: ExperimentContext, chosen: Sequence[int] = range(FOLDS), recipe: FoldRecipe = FoldRecipe()) -> dict[str, Any]:
    """``summarise`` of the folds; the rows, a few megabytes, stay in the cache."""
    rows: list[dict[str, Any]] = []
    for fold in chosen:
        prepared = prepare_fold(context, fold, recipe)
        key = [statistics.identity(prepared.repository, prepared.generator), SIZES, DRAWS, list(METHODS)]
        rows += context.piece("composition", f"fold{fold}", key, lambda p=prepared, f=fold: run_fold(context, p, f))
    return summarise(rows)


def run_fold(context: ExperimentContext, prepared: PreparedFold, fold: int) -> list[dict[str, Any]]:
    """Every held-out task of a fold with every subset of its experts."""
    repository = prepared.repository
    sizes = [s for s in SIZES if s < len(repository)]
    subsets = [
        (rule, draw, size, sorted(order[:size])) for rule, draw, order in orders(repository.embeddings, fold) for size in sizes
    ]
    subsets.append((ALL, 0, len(repository), list(range(len(repository)))))
    rows = []
    for number, task in enumerate(prepared.held, 1):
        maps, texts, relevance = context.pool.evaluation(task.test)
        embedding = context.backbone.encode_sentence([task.description])[0]
        zero = statistics.both_ways(measure(context.backbone.suffix(maps), texts, relevance))
        known: dict[tuple[str, tuple[int, ...]], dict[str, float]] = {}  # many subsets route to the same experts
        for rule, draw, size, kept in subsets:
            part = repository.subset(kept)
            routing = SparseRouter(part.embeddings).route(task.description, embedding)
            chosen = tuple(kept[i] for i in routing.chosen.tolist())
            for name, method in METHODS.items():
                if (name, chosen) not in known:
                    lora = method(Setting(part, prepared.generator, routing, 0))
                    known[name, chosen] = statistics.both_ways(measure(context.backbone.suffix(maps, lora), texts, relevance))
                gains = {m: round(v - zero[m], 3) for m, v in known[name, chosen].items()}
                closest = round(float(routing.similarity.max()), 4)
                where = {"fold": fold, "task": task.name, "group": task.group, "rule": rule, "draw": draw, "experts": size}
                rows.append({**where, "method": name, "coverage": closest, **gains})
        if number % 5 == 0 or number == len(prepared.held):
            context.log(f"composition, fold {fold}: {number}/{len(prepared.held)} held-out tasks")
    return rows


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Per group of tasks and method: gain over zero-shot by rule and number of experts, the rules minus chance, what
    coverage is worth at the same number of experts, and gain by coverage. R@1, mean of both directions, in points."""
    found: dict[str, Any] = {}
    for group, own in statistics.grouped(rows):
        found[group] = {"tasks": len({r["task"] for r in own})}
        for method in METHODS:
            named = [{**r, "variant": _variant(r)} for r in own if r["method"] == method]
            found[group][method] = _summary(named)
    return found


def _variant(row: Mapping[str, Any]) -> str:
    return ALL if row["rule"] == ALL else f"{row['rule']}, {row['experts']}"


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sizes = sorted({r["experts"] for r in rows if r["rule"] != ALL})
    whole = [{**r, "variant": r["rule"]} for r in rows]  # every draw has every number of experts
    gain = {
        rule: {str(s): statistics.interval(list(statistics.by_task(rows, f"{rule}, {s}", "R@1").values())) for s in sizes}
        for rule in (*RULES, RANDOM)
    }
    return {
        ALL: statistics.interval(list(statistics.by_task(rows, ALL, "R@1").values())),
        "gain": gain,
        "minus random": {
            rule: {str(s): statistics.difference(rows, f"{rule}, {s}", f"{RANDOM}, {s}", "R@1") for s in sizes}
            for rule in RULES
        },
        "minus random, all sizes": {rule: statistics.difference(whole, rule, RANDOM, "R@1") for rule in RULES},
        "slope": slope([r for r in rows if r["rule"] == RANDOM]),
        "by coverage": by_coverage([r for r in rows if r["rule"] == RANDOM]),
    }


def slope(rows: Sequence[Mapping[str, Any]], seed: int = 0, draws: int = 2_000) -> list[float]:
    """Points of R@1 that 0.1 more similarity of the closest expert is worth, [slope, low, high].

    Rows are compared within their task and number of experts only: tasks differ in how hard they are, and more experts cover
    more. One slope for all; its interval draws tasks anew.
    """
    cells: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for row in rows:
        cells.setdefault((row["task"], row["experts"]), []).append((10 * row["coverage"], row["R@1"]))
    tasks = sorted({task for task, _ in cells})
    products, squares = np.zeros(len(tasks)), np.zeros(len(tasks))
    for (task, _), pairs in cells.items():
        x, y = np.array(pairs).T - np.array(pairs).mean(0)[:, None]
        products[tasks.index(task)] += x @ y
        squares[tasks.index(task)] += x @ x
    if not squares.any():
        return [0.0, 0.0, 0.0]
    drawn = np.random.default_rng(seed).multinomial(len(tasks), np.full(len(tasks), 1 / len(tasks)), draws)
    below = drawn @ squares
    low, high = np.percentile((drawn @ products)[below > 0] / below[below > 0], [2.5, 97.5])
    return [round(float(v), 2) for v in (products.sum() / squares.sum(), low, high)]


def by_coverage(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Gain in BINS equal shares of the rows, from least to best covered; a bin averages within a task first."""
    ordered = sorted(rows, key=lambda r: r["coverage"])
    bins = [ordered[i * len(ordered) // BINS : (i + 1) * len(ordered) // BINS] for i in range(BINS)]
    return [
        {
            "coverage": round(float(np.mean([r["coverage"] for r in some])), 3),
            "gain": statistics.interval(list(statistics.by_task([{**r, "variant": ""} for r in some], "", "R@1").values())),
        }
        for some in bins
        if some
    ]


def findings(result: Mapping[str, Any]) -> list[str]:
    """What number and coverage are worth, and whether the rules beat chance: over all numbers of experts at once, since of many
    tests some succeed by chance."""
    said = []
    for group in (g for g in statistics.GROUPS if g in result):
        found, merge = result[group]["SG-LoRA"], result[group]["top-k merge"]
        few, many = (pick(found["gain"][RANDOM], key=int) for pick in (min, max))
        steps = [(f"{few} drawn at random", RANDOM, few), (f"{many}", RANDOM, many)]
        gains = [f"{markdown.difference(found['gain'][rule][n])} with {name}" for name, rule, n in steps]
        merged = [*(f"{merge['gain'][rule][n][0]:+.1f}" for _, rule, n in steps), f"{merge[ALL][0]:+.1f}"]
        said.append(
            f"{group} ({result[group]['tasks']} held-out tasks), number of experts: SG-LoRA gains {', '.join(gains)} and "
            f"{markdown.difference(found[ALL])} with all of them (their merge {markdown.listed(merged)}), in R@1 "
            "over zero-shot."
        )
        said.append(
            f"{group}, coverage: at the same number of experts, 0.1 more similarity of the closest one "
            f"{_worth(found['slope'])} for SG-LoRA and {_worth(merge['slope'])} for the merge."
        )
    for rule in RULES:
        leads = [
            f"{markdown.difference(result[group][method]['minus random, all sizes'][rule])} in {group} ({method})"
            for group in statistics.GROUPS
            if group in result
            for method in (METHODS if group == "all" else ["SG-LoRA"])
        ]
        said.append(f"Experts picked {rule} minus as many drawn at random, over all numbers: {', '.join(leads)}.")
    return said


def _worth(interval: Sequence[float]) -> str:
    told = markdown.above(interval) or markdown.below(interval)
    return f"{'is worth' if told else 'makes no sure difference,'} {markdown.difference(interval)} points"


def table(result: Mapping[str, Any]) -> str:
    """Gain by number of experts and rule, then by coverage; a table for each group and method."""
    parts = []
    for group in (g for g in statistics.GROUPS if g in result):
        for method in METHODS:
            found = result[group][method]
            rows = [
                [
                    size,
                    *(markdown.difference(found["gain"][rule][size]) for rule in (RANDOM, *RULES)),
                    *(markdown.difference(found["minus random"][rule][size]) for rule in RULES),
                ]
                for size in found["gain"][RANDOM]
            ]
            overall = [markdown.difference(found["minus random, all sizes"][rule]) for rule in RULES]
            rows += [["all of these", "", "", "", *overall], [ALL, markdown.difference(found[ALL]), "", "", "", ""]]
            head = ["experts", RANDOM, *RULES, *(f"{rule} minus random" for rule in RULES)]
            title = f"{group} ({result[group]['tasks']} held-out tasks), {method}: R@1 over zero-shot, by number of experts"
            parts.append(f"{title}\n\n{markdown.table(head, rows)}")
    covered = [
        [group, method, *(f"{b['coverage']:.2f}: {b['gain'][0]:+.1f}" for b in result[group][method]["by coverage"])]
        for group in statistics.GROUPS
        if group in result
        for method in METHODS
    ]
    head = ["tasks", "method", *(f"share {i + 1}" for i in range(max(map(len, covered)) - 2))]
    parts.append(f"Similarity of the closest expert: gain in R@1, in equal shares\n\n{markdown.table(head, covered)}")
    return "\n\n".join(parts)


def plot(result: Mapping[str, Any]) -> Figure:
    """Gain of SG-LoRA against the number of experts, for each group; then against coverage."""
    groups = [g for g in statistics.GROUPS if g in result]
    figure, axes = figures.panels(len(groups) + 1, 2.6)
    shown = "SG-LoRA"
    for panel, group in zip(axes, groups, strict=False):
        found = result[group][shown]
        sizes = [int(s) for s in found["gain"][RANDOM]]
        figures.band(panel, sizes, list(found["gain"][RANDOM].values()), "drawn at random", figures.COLOURS[7])
        for rule, colour in zip(RULES, (figures.ACCENT, figures.SECOND), strict=True):
            panel.plot(sizes, [v[0] for v in found["gain"][rule].values()], "o-", color=colour, label=rule, markersize=4)
        panel.axhline(found[ALL][0], color=figures.INK, linewidth=0.8, linestyle="--", label=ALL)
        panel.set_xscale("log", base=2)
        panel.set_xticks(sizes, map(str, sizes))
        panel.set_title(f"{shown}, {group}: R@1 over zero-shot")
        panel.set_xlabel("experts")
    for group, colour in zip(groups, (figures.INK, figures.ACCENT, figures.SECOND), strict=False):
        bins = result[group][shown]["by coverage"]
        figures.band(axes[-1], [b["coverage"] for b in bins], [b["gain"] for b in bins], group, colour)
    axes[-1].set_xlabel("similarity of the closest expert")
    axes[-1].set_title(f"{shown}: R@1 over zero-shot, by coverage")
    axes[0].legend(fontsize=8)
    axes[-1].legend(fontsize=8)
    return figure
