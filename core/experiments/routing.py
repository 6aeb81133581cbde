"""Does routing find the right experts? Written descriptions with known experts, and held-out tasks with known neighbours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from core.common import markdown
from core.common.metrics import bootstrap_interval
from core.experiments import figures
from core.experiments.context import ExperimentContext
from core.experiments.descriptions import NEIGHBOURS, WRITTEN
from core.experiments.folds import FOLDS, folds
from core.sglora.router import DEFAULT_K, Routing, SparseRouter

Names = Sequence[tuple[str, str]]  # (name, group) of each expert
MEASURES = ("first", "top k", "weight")
HELD_SCENES, HELD_SPECIAL = "held-out scenes", "held-out special domains"


def run(context: ExperimentContext) -> dict[str, Any]:
    """A row for each description, and ``summarise`` of them."""
    engine = context.engine
    names = [(e.name, e.group) for e in engine.repository.experts]
    rows = []
    for kind, descriptions in WRITTEN.items():
        for description, said in descriptions:
            rows += judged(kind, engine.route(description), names, expected(said, names))
    for fold in range(FOLDS):
        rows += _held_out(context, fold)
    return {"k": DEFAULT_K, "experts": len(names), "kinds": summarise(rows), "rows": rows}


def _held_out(context: ExperimentContext, fold: int) -> list[dict[str, Any]]:
    """Each held-out task's own description, routed to the experts of the tasks that are not held out."""
    tasks = context.pool.tasks
    held = folds(context.pool)[fold]
    seen = [t for i, t in enumerate(tasks) if i not in held]
    names = [(t.name, t.group) for t in seen]
    router = SparseRouter(context.backbone.encode_sentence([t.description for t in seen]))
    rows = []
    for task in (tasks[i] for i in held):
        scenes = task.group == "scenes"
        said = NEIGHBOURS.get(task.name, "") if scenes else f"{task.group}/ {NEIGHBOURS.get(f'{task.group}/', '')}"
        routing = router.route(task.description, context.backbone.encode_sentence([task.description])[0])
        rows += judged(HELD_SCENES if scenes else HELD_SPECIAL, routing, names, expected(said, names))
    return rows


def expected(said: str, names: Names) -> list[int]:
    """Rows of the experts that are said, as in "dog grass sports/"; those that are not there are left out."""
    wanted = set(said.split())
    return [i for i, (name, group) in enumerate(names) if name in wanted or f"{group}/" in wanted]


def judged(kind: str, routing: Routing, names: Names, wanted: Sequence[int]) -> list[dict[str, Any]]:
    """What routing made of one description, as one row; none where no expected expert is in the repository.

    ``rank``: of the best expected expert, 1 = first; ``weight``: of the expected ones together; ``chance``: of an expected
    one to be first, and to be among the k, if experts were drawn at random.
    """
    if not wanted:
        return []
    order = routing.similarity.argsort(descending=True).tolist()
    n, k = len(names), len(routing.chosen)
    weights = dict(zip(routing.chosen.tolist(), routing.weights.tolist(), strict=True))
    found = {
        "kind": kind,
        "description": routing.description,
        "expected": [names[i][0] for i in wanted],
        "first": names[order[0]][0],
        "rank": 1 + min(map(order.index, wanted)),
        "in top k": min(map(order.index, wanted)) < k,
        "weight": round(sum(weights.get(i, 0.0) for i in wanted), 4),
        "chance": [round(len(wanted) / n, 4), round(1 - comb(n - len(wanted), k) / comb(n, k), 4)],
    }
    return [found]


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By kind, in percent: shares ranked first and within the top k, the mean weight, each with its 95 % bootstrap interval
    over descriptions, and both shares by chance."""
    written = [r for r in rows if r["kind"] not in (HELD_SCENES, HELD_SPECIAL)]
    kinds = {"all written": written} | {k: [r for r in rows if r["kind"] == k] for k in dict.fromkeys(r["kind"] for r in rows)}
    return {
        kind: {
            "descriptions": len(own),
            "first": _percent([r["rank"] == 1 for r in own]),
            "top k": _percent([r["in top k"] for r in own]),
            "weight": _percent([r["weight"] for r in own]),
            "chance": [round(100 * float(np.mean([r["chance"][i] for r in own])), 1) for i in range(2)],
        }
        for kind, own in kinds.items()
        if own
    }


def _percent(values: Sequence[float]) -> list[float]:
    return [round(100 * v, 1) for v in bootstrap_interval(values)]


def findings(result: Mapping[str, Any]) -> list[str]:
    """Shares of all written descriptions, the weakest kind, who is wrongly first, and held-out tasks."""
    kinds, k = result["kinds"], result["k"]
    total = kinds["all written"]
    said = [
        f"Of {total['descriptions']} written descriptions, {total['first'][0]:.0f} % have an expected expert first and "
        f"{total['top k'][0]:.0f} % among the {k} that are routed to (by chance {total['chance'][0]:.0f} % and "
        f"{total['chance'][1]:.0f} %); the expected ones get {total['weight'][0]:.0f} % of the weight.",
    ]
    written = {name: v for name, v in kinds.items() if name not in ("all written", HELD_SCENES, HELD_SPECIAL)}
    weakest = min(written, key=lambda name: written[name]["first"][0])
    said.append(f"Weakest of the kinds: {weakest}, with {written[weakest]['first'][0]:.0f} % first.")
    wrong = Counter(r["first"] for r in result["rows"] if r["rank"] > 1 and r["kind"] in written)
    if wrong:
        often = ", ".join(f"{name} ({n})" for name, n in wrong.most_common(3))
        said.append(f"Most often first where another expert was expected: {often}.")
    for kind in (HELD_SCENES, HELD_SPECIAL):
        if kind in kinds:
            v = kinds[kind]
            said.append(
                f"{kind[0].upper()}{kind[1:]} ({v['descriptions']}), whose own expert is not there: {v['first'][0]:.0f} % have "
                f"a neighbour first, {v['top k'][0]:.0f} % among the {k} (by chance {v['chance'][0]:.0f} % and "
                f"{v['chance'][1]:.0f} %)."
            )
    return said


def table(result: Mapping[str, Any]) -> str:
    """Shares by kind; then what missed the top k."""

    def share(interval: Sequence[float]) -> str:
        return f"{interval[0]:.0f} [{interval[1]:.0f}, {interval[2]:.0f}]"

    rows = []
    for name, v in result["kinds"].items():
        shares = [share(v[m]) for m in MEASURES]
        rows.append([name, str(v["descriptions"]), *shares, " / ".join(f"{c:.0f}" for c in v["chance"])])
    head = ["descriptions", "number", "first, %", f"top {result['k']}, %", "weight, %", "by chance (first / top k)"]
    missed = [
        [r["kind"], r["description"], ", ".join(r["expected"]), r["first"], str(r["rank"])]
        for r in result["rows"]
        if not r["in top k"]
    ]
    parts = [markdown.table(head, rows)]
    if missed:
        listed = markdown.table(["kind", "description", "expected", "first", "rank of the expected"], missed)
        parts += [f"Not among the {result['k']}:", listed]
    return "\n\n".join(parts)


def plot(result: Mapping[str, Any]) -> Figure:
    """Shares by kind, first and within the top k, with a mark at chance."""
    kinds = dict(reversed(result["kinds"].items()))
    figure, (axes,) = figures.panels(height=0.6 + 0.42 * len(kinds), grid="x")
    for offset, (measure, colour) in zip((0.2, -0.2), (("first", figures.ACCENT), ("top k", figures.SECOND)), strict=True):
        places = np.arange(len(kinds)) + offset
        mean, low, high = np.array([v[measure] for v in kinds.values()]).T
        axes.barh(places, mean, 0.36, color=colour, label=measure.replace("k", str(result["k"])))
        axes.errorbar(mean, places, xerr=[mean - low, high - mean], fmt="none", ecolor=figures.INK, elinewidth=0.8)
        chance = [v["chance"][int(measure != "first")] for v in kinds.values()]
        axes.plot(chance, places, "|", color=figures.INK, markersize=9, label="by chance" if measure != "first" else None)
    axes.set_yticks(range(len(kinds)), list(kinds))
    axes.set_xlim(0, 105)
    axes.set_title("An expected expert is ranked …, %")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
