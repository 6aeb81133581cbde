"""Where do generated LoRAs lie among the experts, and does the generator collapse to a few modes?

The snapshots of a fold's experts, and LoRAs generated for held-out descriptions, which the fold's generator never saw, and for
the experts' own descriptions with the own expert left out of the routing. Everything is measured between weight changes B A,
not between factors. t-SNE (van der Maaten and Hinton 2008) draws the picture; all figures come from the distances themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from core.backbones.lora import Lora
from core.common import markdown
from core.experiments import figures, statistics
from core.experiments.context import ExperimentContext
from core.experiments.cosines import products
from core.experiments.folds import FoldRecipe, PreparedFold, prepare_fold
from core.sglora.router import SparseRouter

FOLD = 0
SAMPLES = 8  # of each description, and as many snapshots of each expert
PERPLEXITY = 30
EXPERTS, KNOWN, MERGES, HELD = (
    "experts",
    "generated, own expert left out",
    "top-k merge, own expert left out",
    "generated, held out",
)
KINDS = (EXPERTS, KNOWN, MERGES, HELD)


@dataclass(frozen=True)
class Cloud:
    """LoRAs of one kind.

    Attributes:
        kind: of KINDS. loras: [n]. tasks: [n] whose description or photos a LoRA is of. groups: of the tasks.
        nearest: name of the closest routed expert of each; empty for experts.
    """

    kind: str
    loras: Sequence[Lora]
    tasks: Sequence[str]
    groups: Sequence[str]
    nearest: Sequence[str] = ()


def run(context: ExperimentContext, fold: int = FOLD, recipe: FoldRecipe | None = None) -> dict[str, Any]:
    """``described`` of a fold's experts and generated LoRAs."""
    prepared = prepare_fold(context, fold, recipe or FoldRecipe.of(context.backbone))
    key = [
        statistics.identity(prepared.repository, prepared.generator),
        [t.description for t in prepared.held],
        SAMPLES,
        PERPLEXITY,
    ]

    def make() -> dict[str, Any]:
        made = clouds(context, prepared)
        context.log(f"latent, fold {fold}: {sum(len(c.loras) for c in made)} LoRAs to compare")
        return described(made)

    return {"fold": fold, **context.piece("latent", f"fold{fold}", key, make)}


def clouds(context: ExperimentContext, prepared: PreparedFold) -> list[Cloud]:
    """The experts' snapshots (the latest last), and what is made from descriptions: SAMPLES of each, seeds 0 and on."""
    repository, seen = prepared.repository, prepared.seen
    layout = repository.layout
    snapshots = [s[np.unique(np.linspace(0, len(s) - 1, SAMPLES).round().astype(int))] for s in prepared.snapshots]
    own = [(Lora.from_vector(layout, v), t) for t, some in zip(seen, snapshots, strict=True) for v in some]
    found = [Cloud(EXPERTS, [x for x, _ in own], [t.name for _, t in own], [t.group for _, t in own])]
    known, merges, held = [], [], []
    everyone = list(range(len(seen)))
    asked = [(known, t, [j for j in everyone if j != i]) for i, t in enumerate(seen)]
    for into, task, kept in [*asked, *((held, t, everyone) for t in prepared.held)]:
        part = repository.subset(kept)
        embedding = context.backbone.encode_sentence([task.description])[0]
        routing = SparseRouter(part.embeddings).route(task.description, embedding)
        prior, merged = part.prior(routing), part.merged(routing)
        closest = part.experts[int(routing.chosen[0])].name
        for seed in range(SAMPLES):
            vector = prepared.generator.sample(prior, seed)[0]
            into.append((prepared.generator.lora(vector, prior, merged, layout), task, closest))
        if into is known:
            merges.append((merged, task, closest))
    for kind, some in ((KNOWN, known), (MERGES, merges), (HELD, held)):
        loras, tasks, nearest = zip(*some, strict=True)
        found.append(Cloud(kind, loras, [t.name for t in tasks], [t.group for t in tasks], nearest))
    return found


def described(made: Sequence[Cloud]) -> dict[str, Any]:
    """All figures of the clouds, and a map.

    Returns:
        ``spread``: {group: {kind: ``spread``'s}} and ``kept``: {group: {kind: ``kept``'s}};
        ``silhouette``: {kind: {"by task", "by group"}};
        ``neighbours``: ``neighbours`` of each generated kind;
        ``map``: [{"kind", "task", "group", "x", "y"}] by t-SNE.
    """
    every = [lora for cloud in made for lora in cloud.loras]
    gram = products(every).numpy()
    squared = np.maximum(gram.diagonal()[:, None] + gram.diagonal() - 2 * gram, 0)
    np.fill_diagonal(squared, 0)
    stops = np.cumsum([0, *(len(cloud.loras) for cloud in made)])
    rows = {cloud.kind: np.arange(a, b) for cloud, a, b in zip(made, stops[:-1], stops[1:], strict=True)}
    by_kind = {cloud.kind: cloud for cloud in made}
    result: dict[str, Any] = {"samples": SAMPLES, "spread": {}, "kept": {}, "silhouette": {}, "neighbours": {}}
    for group in statistics.GROUPS:
        centres = {}
        for kind, cloud in by_kind.items():
            keep = np.array([statistics.in_group({"group": g}, group) for g in cloud.groups])
            if len({t for t, k in zip(cloud.tasks, keep, strict=True) if k}) > 1:
                mine = rows[kind][keep]
                names = [t for t, k in zip(cloud.tasks, keep, strict=True) if k]
                centres[kind] = centred(squared[np.ix_(mine, mine)], names)
        if centres:
            result["spread"][group] = {kind: spread(*c) for kind, c in centres.items()}
            result["kept"][group] = {k: kept(centres[k][0], centres[EXPERTS][0]) for k in (KNOWN, MERGES) if k in centres}
    for cloud in made:
        mine = squared[np.ix_(rows[cloud.kind], rows[cloud.kind])]
        labels = {"by task": cloud.tasks, "by group": cloud.groups}
        result["silhouette"][cloud.kind] = {how: silhouette(mine, names) for how, names in labels.items()}
        if cloud.kind != EXPERTS:
            across = squared[np.ix_(rows[cloud.kind], rows[EXPERTS])]
            result["neighbours"][cloud.kind] = neighbours(cloud, by_kind[EXPERTS], across)
    shown = [cloud for cloud in made if cloud.kind in (EXPERTS, HELD)]
    mine = np.concatenate([rows[cloud.kind] for cloud in shown])
    places = iter(tsne(squared[np.ix_(mine, mine)]))
    for cloud in shown:
        for task, group in zip(cloud.tasks, cloud.groups, strict=True):
            x, y = next(places)
            point = {"kind": cloud.kind, "task": task, "group": group, "x": round(float(x), 1), "y": round(float(y), 1)}
            result.setdefault("map", []).append(point)
    return result


def centred(squared: np.ndarray, tasks: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances between the tasks' centres, [t, t], and the mean squared distance of a task's LoRAs to its own, [t].

    Args:
        squared: [n, n] squared distances of LoRAs. tasks: [n] of each.
    """
    names, owner = np.unique(tasks, return_inverse=True)
    of = np.eye(len(names))[owner]
    of /= of.sum(0)
    between = of.T @ squared @ of  # mean over pairs
    within = between.diagonal() / 2
    return np.maximum(between - within[:, None] - within, 0), within


def spread(centres: np.ndarray, within: np.ndarray) -> dict[str, float]:
    """Root mean square distance of tasks' centres to their mean ("between"), of LoRAs to their task's centre ("within"),
    and the number of ``directions`` that the centres spread over: (sum of variances)^2 / sum of their squares.

    Args:
        centres: [t, t] squared distances. within: [t].
    """
    n = len(centres)
    middle = np.eye(n) - 1 / n
    variances = np.linalg.eigvalsh(-0.5 * middle @ centres @ middle)
    total, squares = variances.sum(), np.square(variances).sum()
    return {
        "tasks": n,
        "between": round(float(np.sqrt(centres.mean() / 2)), 4),
        "within": round(float(np.sqrt(within.mean())), 4),
        "directions": round(float(total**2 / squares), 1) if squares > 0 else 0.0,
    }


def kept(centres: np.ndarray, experts: np.ndarray, seed: int = 0, draws: int = 2_000) -> statistics.Interval:
    """How much of the experts' spread between tasks a kind keeps, in percent: [share, low, high]. The bootstrap draws tasks,
    for both at once.

    Args:
        centres, experts: [t, t] squared distances between centres, of the same tasks.
    """
    n = len(centres)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), draws).astype(float)
    top, bottom = (((drawn @ d) * drawn).sum(1) for d in (centres, experts))
    low, high = np.percentile(np.sqrt(top[bottom > 0] / bottom[bottom > 0]), [2.5, 97.5])
    return [round(100 * float(v), 1) for v in (np.sqrt(centres.sum() / experts.sum()), low, high)]


def silhouette(squared: np.ndarray, labels: Sequence[str]) -> float | None:
    """Mean silhouette of LoRAs by label (scikit-learn); None where it is not defined: one label, or one LoRA each."""
    if not 1 < len(set(labels)) < len(labels):
        return None
    return round(float(silhouette_score(np.sqrt(squared), list(labels), metric="precomputed")), 3)


def neighbours(cloud: Cloud, experts: Cloud, squared: np.ndarray) -> dict[str, float]:
    """Whose snapshot lies closest to each LoRA of a cloud, in percent: of the expert that was routed to first ("first"), of the
    task's own kind, scenes or the same special domain ("group"); and "by chance", if an expert were drawn at random.

    Args:
        squared: [n, snapshots] squared distances.
    """
    closest = squared.argmin(1)
    group_of = dict(zip(experts.tasks, experts.groups, strict=True))
    first = [experts.tasks[i] == name for i, name in zip(closest, cloud.nearest, strict=True)]
    alike = [experts.groups[i] == g for i, g in zip(closest, cloud.groups, strict=True)]
    chance = [
        np.mean([g == own for t, g in group_of.items() if t != task])
        for task, own in zip(cloud.tasks, cloud.groups, strict=True)
    ]
    shares = {"first": first, "group": alike, "by chance": chance}
    return {name: round(100 * float(np.mean(values)), 1) for name, values in shares.items()}


def tsne(squared: np.ndarray) -> np.ndarray:
    """A map [n, 2] by t-SNE, begun at the two widest directions.

    Args:
        squared: [n, n] squared distances.
    """
    n = len(squared)
    middle = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-0.5 * middle @ squared @ middle)
    # Exact coordinates, all directions with any spread: the distances in them are those that were given.
    some = values > 1e-9 * values[-1]
    points = (vectors[:, some] * np.sqrt(values[some]))[:, ::-1]
    return TSNE(perplexity=min(PERPLEXITY, (n - 1) / 3), init="pca", random_state=0).fit_transform(points.astype(np.float32))


def findings(result: Mapping[str, Any]) -> list[str]:
    """Whether the generator collapses, between and within descriptions, and whether its LoRAs lie with their own kind."""
    said = []
    for group in (g for g in statistics.GROUPS if g in result["spread"]):
        found, share = result["spread"][group], result["kept"][group]
        experts, known = found[EXPERTS], found[KNOWN]
        said.append(
            f"{group} ({experts['tasks']} experts), between descriptions: with the own expert left out, generated LoRAs keep "
            f"{_percent(share[KNOWN])} of the experts' spread between tasks (the merge of the same experts "
            f"{_percent(share[MERGES])}), over {known['directions']:.1f} directions instead of {experts['directions']:.1f} "
            f"(the merge {found[MERGES]['directions']:.1f})."
        )
        said.append(
            f"{group}, within a description: samples are {known['within'] / known['between']:.2f} times as far from their "
            f"mean as descriptions are from theirs; an expert's snapshots {experts['within'] / experts['between']:.2f} times."
        )
    near, silhouettes = result["neighbours"][HELD], result["silhouette"]
    said.append(
        "The expert closest to a LoRA generated for a held-out description is of the task's kind (scenes, or the same domain) "
        f"for {near['group']:.0f} % (by chance {near['by chance']:.0f} %), and the one routed to first for "
        f"{near['first']:.0f} %."
    )
    told = [f"{_number(silhouettes[k]['by task'])} ({k})" for k in (EXPERTS, KNOWN, HELD)]
    said.append(f"Silhouette by task: {markdown.listed(told)}. An expert's snapshots are steps of one training, and lie close.")
    return said


def _percent(interval: Sequence[float]) -> str:
    return f"{interval[0]:.0f} % [{interval[1]:.0f}, {interval[2]:.0f}]"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def table(result: Mapping[str, Any]) -> str:
    """Spread by group and kind; then silhouettes and neighbours."""
    rows = []
    for group, kinds in result["spread"].items():
        for kind, v in kinds.items():
            share = result["kept"][group].get(kind)
            numbers = [f"{v['between']:.3f}", f"{v['within']:.3f}" if v["within"] else ""]
            rows.append([group, kind, str(v["tasks"]), *numbers, _percent(share) if share else "", f"{v['directions']:.1f}"])
    head = ["tasks", "LoRAs", "number", "between tasks", "within a task", "of the experts' between", "directions"]
    parts = ["Root mean square distance of weight changes to their mean", markdown.table(head, rows)]
    rows = []
    for kind, how in result["silhouette"].items():
        near = result["neighbours"].get(kind)
        shares = [f"{near['first']:.0f}", f"{near['group']:.0f}", f"{near['by chance']:.0f}"] if near else ["", "", ""]
        rows.append([kind, _number(how["by task"]), _number(how["by group"]), *shares])
    head = [
        "LoRAs",
        "silhouette by task",
        "by domain",
        "closest expert is the first routed, %",
        "is of its kind, %",
        "by chance, %",
    ]
    return "\n\n".join([*parts, "Who lies with whom", markdown.table(head, rows)])


def plot(result: Mapping[str, Any]) -> Figure:
    """The map by t-SNE; then the spread between and within tasks."""
    groups = [g for g in statistics.GROUPS[1:] if g in result["spread"]]
    figure, (chart, *bars) = figures.panels(1 + len(groups), 2.6, ratios=[4.2, *(1.8 for _ in groups)])
    for scenes, colour, name in ((True, figures.ACCENT, "scenes"), (False, figures.SECOND, "special domains")):
        for kind, marker, size in ((EXPERTS, ".", 10), (HELD, "^", 16)):
            points = [p for p in result["map"] if p["kind"] == kind and (p["group"] == "scenes") is scenes]
            style = {"edgecolors": figures.INK, "linewidths": 0.4} if kind == HELD else {"linewidths": 0, "alpha": 0.6}
            x, y = ([p[axis] for p in points] for axis in "xy")
            chart.scatter(x, y, s=size, marker=marker, color=colour, label=f"{kind.partition(',')[0]}: {name}", **style)
    for task in dict.fromkeys(p["task"] for p in result["map"] if p["kind"] == HELD):
        own = [p for p in result["map"] if p["task"] == task and p["kind"] == HELD]
        x, y = (float(np.mean([p[axis] for p in own])) for axis in "xy")
        chart.annotate(task, (x, y), xytext=(3, 3), textcoords="offset points", fontsize=6)
    chart.set_xticks([])
    chart.set_yticks([])
    chart.set_title("Weight changes, a map by t-SNE")
    chart.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2)
    for panel, group in zip(bars, groups, strict=True):
        kinds = result["spread"][group]
        places = np.arange(len(kinds))[::-1]
        for part, shift, colour in (("between", 0.18, figures.ACCENT), ("within", -0.18, figures.SECOND)):
            panel.barh(
                places + shift,
                [v[part] for v in kinds.values()],
                0.34,
                color=colour,
                label={"between": "between tasks", "within": "within a task"}[part],
            )
        panel.set_yticks(places, [kind.replace(", ", ",\n") for kind in kinds], fontsize=7)
        panel.grid(axis="y", visible=False)
        panel.grid(axis="x")
        panel.set_title(f"Spread, {group}")
    if bars:
        bars[-1].legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    return figure
