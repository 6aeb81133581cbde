"""Has the space of generated parameters structure, and do samples differ? 12 categories of 20 sentences, with three seeds each.

Distances are those of weight changes: coordinates of the experts' basis times its scale. Generators trained with other weights
lambda of the KL divergence show what it changes; lambda is 1, as in the paper, and nothing here chooses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.spatial.distance import cdist, pdist

from core.common import markdown
from core.common.paths import data_of
from core.experiments import figures, runner, statistics
from core.experiments.context import ExperimentContext
from core.experiments.held_tasks import HeldTask
from core.sglora.generator import LoraGenerator
from core.sglora.router import Routing
from core.training.experts import runs_of
from core.training.generator import GeneratorRecipe, fit_generator
from core.training.snapshots import read_snapshots

SENTENCES: Mapping[str, list[str]] = data_of(__file__)  # by category
SEEDS, NEIGHBOURS = (0, 1, 2), 10
LAMBDAS = (0.1, 0.01, 0.001)  # beside the shipped one


def neighbours_alike(points: np.ndarray, categories: np.ndarray, sentences: np.ndarray) -> float:
    """The percentage of each point's NEIGHBOURS nearest points of other sentences that have its category."""
    apart = cdist(points, points)
    apart[sentences[:, None] == sentences] = np.inf
    nearest = np.argsort(apart, 1)[:, :NEIGHBOURS]
    return round(100 * float((categories[nearest] == categories[:, None]).mean()), 1)


def dimensions(points: np.ndarray) -> float:
    """How many directions the points spread over: (sum of variances)^2 / sum of squared variances."""
    variances = np.linalg.svd(points - points.mean(0), compute_uv=False) ** 2
    return round(float(variances.sum() ** 2 / (variances**2).sum()), 1)


def structure(points: np.ndarray, categories: np.ndarray) -> dict[str, float]:
    """Mean distances of two seeds, two sentences of a category and two categories; neighbours; and dimensions."""
    n, seeds, _ = points.shape
    apart, alike = cdist(points[:, 0], points[:, 0]), categories[:, None] == categories
    return {
        "seeds": float(np.linalg.norm(points[:, 0] - points[:, 1], axis=1).mean()),
        "sentences": float(apart[alike & ~np.eye(n, dtype=bool)].mean()),
        "categories": float(apart[~alike].mean()),
        "neighbours": neighbours_alike(points.reshape(n * seeds, -1), categories.repeat(seeds), np.arange(n).repeat(seeds)),
        "dimensions": dimensions(points[:, 0]),
    }


def run(context: ExperimentContext) -> dict[str, Any]:
    """The structure of generated parameters for each lambda and of merges; recall of samples minus the merge; a map."""
    from sklearn.manifold import TSNE

    engine, experts = context.engine, context.engine.repository
    runs = runs_of(experts, context.backbone, context.cache, context.data)
    snapshots = read_snapshots(runs, [e.name for e in experts.experts])
    assert engine.generator is not None  # the shipped one
    generators = {f"{engine.generator.notes['recipe']['kl']:g}": engine.generator}
    generators |= {f"{w:g}": fit_generator(experts, snapshots, GeneratorRecipe(kl=w), context.log) for w in LAMBDAS}
    routings = [engine.route(sentence) for listed in SENTENCES.values() for sentence in listed]
    categories = np.arange(len(SENTENCES)).repeat([len(listed) for listed in SENTENCES.values()])

    def made(routing: Routing, generator: LoraGenerator) -> torch.Tensor:
        return torch.stack([generator.sample(experts.prior(routing), seed).theta for seed in SEEDS])  # [seeds, D]

    points = {w: torch.stack([made(r, g) * experts.basis.scale for r in routings]).numpy() for w, g in generators.items()}
    own = (experts.coordinates * experts.basis.scale).numpy()
    merges = np.stack([r.weights.numpy() @ own[r.chosen.numpy()] for r in routings])

    def variants(task: HeldTask) -> Iterable[runner.Variant]:
        routing = engine.route(task.description)
        yield {"variant": "merge"}, experts.merged(routing.chosen, routing.weights)
        for weight, generator in generators.items():
            for theta in made(routing, generator):
                yield {"variant": weight}, experts.with_shared(experts.generated(routing, theta))

    rows = runner.measured(context, "latent", runner.known_tasks(context.corpus), variants)
    everything = np.concatenate([next(iter(points.values())).reshape(-1, own.shape[1]), merges, own])
    flat = TSNE(init="pca", perplexity=30, random_state=0).fit_transform(everything)
    return {
        "shipped": next(iter(points)),
        "lambdas": {w: {"nats": g.notes["KL in nats"], **structure(points[w], categories)} for w, g in generators.items()},
        "merges": structure(merges[:, None].repeat(len(SEEDS), 1), categories),
        "experts": {"categories": float(pdist(own).mean()), "dimensions": dimensions(own)},
        "groups": statistics.summary(rows, runner.GROUPS, "merge"),
        "map": np.round(flat, 1).tolist(),
    }


def findings(result: Mapping[str, Any]) -> list[str]:
    shipped, merges = result["lambdas"][result["shipped"]], result["merges"]
    return [
        f"They cluster: {shipped['neighbours']:.0f} % of the {NEIGHBOURS} nearest neighbours share the category (merges "
        f"{merges['neighbours']:.0f} %, by chance {100 / len(SENTENCES):.0f} %). Two seeds are "
        f"{100 * shipped['seeds'] / shipped['sentences']:.0f} % as far apart as two sentences of one category.",
        f"z says {shipped['nats']:.1f} nats. Sentences spread over {shipped['dimensions']:.0f} directions, merges over "
        f"{merges['dimensions']:.0f}, experts over {result['experts']['dimensions']:.0f}.",
    ]


def table(result: Mapping[str, Any]) -> str:
    unit, lines = result["experts"]["categories"], []
    for weight, v in {**result["lambdas"], "merges": result["merges"]}.items():
        spread = [f"{100 * v[name] / unit:.1f} %" for name in ("seeds", "sentences", "categories")]
        lines.append([weight, f"{v.get('nats', 0):.2f}", *spread, f"{v['neighbours']:.0f} %", f"{v['dimensions']:.0f}"])
    head = ["lambda", "KL, nats", "two seeds apart", "two sentences", "two categories", "neighbours alike", "directions"]
    recalls = statistics.summary_table(result["groups"], "merge")
    return f"Distances in percent of that of two experts\n\n{markdown.table(head, lines)}\n\n{recalls}"


def plot(result: Mapping[str, Any]) -> Figure:
    figure, (axes,) = figures.panels(height=4.6, grid="both")
    counts = [len(SEEDS) * len(listed) for listed in SENTENCES.values()]
    parts = np.split(np.array(result["map"]), np.cumsum([*counts, sum(counts) // len(SEEDS)]))
    axes.plot(*parts[-1].T, "+", color=figures.QUIET, label="experts")
    for number, (name, points) in enumerate(zip(SENTENCES, parts, strict=False)):
        again, colour = divmod(number, len(figures.COLOURS))
        axes.plot(*points.T, "^" if again else "o", color=figures.COLOURS[colour], markersize=3, label=name)
    axes.set_title("t-SNE of generated parameters, three seeds a sentence")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=7)
    return figure
