"""Has the space of generated parameters structure, and do samples differ? 12 categories of 20 sentences, with three seeds each.

Distances are those of weight changes: coordinates of the experts' basis times its scale.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from core.common import markdown
from core.common.paths import data_of
from core.experiments import runner, statistics
from core.experiments.context import ExperimentContext
from core.experiments.held_tasks import HeldTask
from core.sglora.generator import LoraGenerator
from core.sglora.router import Routing
from core.training.experts import runs_of
from core.training.generator import GeneratorRecipe, fit_generator
from core.training.snapshots import read_snapshots

SENTENCES: Mapping[str, list[str]] = data_of(__file__)  # by category
NEIGHBOURS = 10
LAMBDAS = (0.1, 0.001)  # beside the shipped one, 1 as in the paper; nothing here chooses it


def neighbours_alike(points: Tensor, categories: Tensor, sentences: Tensor) -> float:
    """The percentage of each point's NEIGHBOURS nearest points of other sentences that have its category."""
    apart = torch.cdist(points, points).masked_fill(sentences[:, None] == sentences, torch.inf)
    nearest = apart.topk(NEIGHBOURS, largest=False).indices
    return round(100 * float((categories[nearest] == categories[:, None]).float().mean()), 1)


def dimensions(points: Tensor) -> float:
    """How many directions the points spread over: (sum of variances)^2 / sum of squared variances."""
    variances = torch.linalg.svdvals(points - points.mean(0)) ** 2
    return round(float(variances.sum() ** 2 / (variances**2).sum()), 1)


def structure(points: Tensor, categories: Tensor) -> dict[str, float]:
    """Mean distances of two seeds, two sentences of a category and two categories; and neighbours. ``points`` [n, seeds, D]."""
    n, seeds, _ = points.shape
    apart, alike = torch.cdist(points[:, 0], points[:, 0]), categories[:, None] == categories
    everyone = points.flatten(0, 1), categories.repeat_interleave(seeds), torch.arange(n).repeat_interleave(seeds)
    return {
        "seeds": float((points[:, 0] - points[:, 1]).norm(dim=1).mean()),
        "sentences": float(apart[alike & ~torch.eye(n, dtype=torch.bool)].mean()),
        "categories": float(apart[~alike].mean()),
        "neighbours": neighbours_alike(*everyone),
    }


def run(context: ExperimentContext) -> dict[str, Any]:
    """The structure of generated parameters for each lambda and of merges; recall of samples minus the merge; a map."""
    from sklearn.manifold import TSNE  # slow to import

    engine, experts = context.engine, context.engine.repository
    runs = runs_of(experts, context.backbone, context.cache, context.data)
    snapshots = read_snapshots(runs, [e.name for e in experts.experts])
    assert engine.generator is not None  # the shipped one
    generators = {f"{engine.generator.notes['recipe']['kl']:g}": engine.generator}
    generators |= {f"{w:g}": fit_generator(experts, snapshots, GeneratorRecipe(kl=w), context.log) for w in LAMBDAS}
    routings = [engine.route(sentence) for listed in SENTENCES.values() for sentence in listed]
    categories = torch.tensor([category for category, listed in enumerate(SENTENCES.values()) for _ in listed])

    def made(routing: Routing, generator: LoraGenerator) -> Tensor:
        return torch.stack([generator.sample(experts.prior(routing), seed).theta for seed in runner.SEEDS])  # [seeds, D]

    points = {w: torch.stack([made(r, g) * experts.basis.scale for r in routings]) for w, g in generators.items()}
    own = experts.coordinates * experts.basis.scale
    merges = torch.stack([r.weights @ own[r.chosen] for r in routings])

    def variants(task: HeldTask) -> Iterable[runner.Variant]:
        routing = engine.route(task.description)
        yield {"variant": "merge"}, experts.merged(routing.chosen, routing.weights)
        for weight, generator in generators.items():
            for theta in made(routing, generator):
                yield {"variant": weight}, experts.with_shared(experts.generated(routing, theta))

    rows = runner.measured(context, "latent", runner.known_tasks(context.corpus), variants)
    everything = torch.cat([next(iter(points.values())).flatten(0, 1), merges, own]).numpy()
    flat = TSNE(init="pca", perplexity=30, random_state=0).fit_transform(everything)
    return {
        "shipped": next(iter(points)),
        "lambdas": {w: {"nats": g.notes["KL in nats"], **structure(points[w], categories)} for w, g in generators.items()},
        "merges": structure(merges[:, None].expand(-1, len(runner.SEEDS), -1), categories),
        "experts": {"categories": float(torch.pdist(own).mean()), "dimensions": dimensions(own)},
        "groups": statistics.summary(rows, "merge"),
        "map": flat.round(1).tolist(),
    }


def findings(result: Mapping[str, Any]) -> list[str]:
    shipped, merges = result["lambdas"][result["shipped"]], result["merges"]
    return [
        f"They cluster: {shipped['neighbours']:.0f} % of the {NEIGHBOURS} nearest neighbours share the category (merges "
        f"{merges['neighbours']:.0f} %, by chance {100 / len(SENTENCES):.0f} %). Two seeds are "
        f"{100 * shipped['seeds'] / shipped['sentences']:.0f} % as far apart as two sentences of one category.",
        f"A draw z tells {shipped['nats']:.1f} nats more than its prior. Experts spread over "
        f"{result['experts']['dimensions']:.0f} directions.",
    ]


def table(result: Mapping[str, Any]) -> str:
    unit, lines = result["experts"]["categories"], []
    for weight, v in {**result["lambdas"], "merges": result["merges"]}.items():
        spread = [f"{100 * v[name] / unit:.1f} %" for name in ("seeds", "sentences", "categories")]
        lines.append([weight, f"{v.get('nats', 0):.2f}", *spread, f"{v['neighbours']:.0f} %"])
    head = ["lambda", "KL, nats", "two seeds apart", "two sentences", "two categories", "neighbours alike"]
    recalls = statistics.summary_table(result["groups"])
    return f"Distances in percent of that of two experts\n\n{markdown.table(head, lines)}\n\n{recalls}"
