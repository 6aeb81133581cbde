"""What does each part of the method do? One thing at a time is changed, on held-out tasks.

``AXES`` change at run time, with the generator as it is: where a condition is then of a kind that no training saw (no variance
at all, say), the answer is about this generator, not about one that was trained so. ``TRAINED`` trains a generator anew, on
one fold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from core.backbones.lora import Lora
from core.backbones.lora_algebra import merge, reduce_rank
from core.common import markdown
from core.common.metrics import measure
from core.experiments import figures, statistics
from core.experiments.context import ExperimentContext
from core.experiments.folds import FOLDS, FoldRecipe, PreparedFold, generator_part, prepare_fold
from core.sglora.generator import LoraGenerator
from core.sglora.prior import SemanticPrior, semantic_prior
from core.sglora.repository import ExpertRepository
from core.sglora.router import DEFAULT_K, DEFAULT_TAU, Routing, SparseRouter
from core.training.experts import TrainedExpert
from core.training.generator import GeneratorRecipe, fit_generator

SEEDS = (0, 1, 2)
SAMPLES = 8
BASE, ZERO = "SG-LoRA", "zero-shot"
DEFAULTS = f"k = {DEFAULT_K}, tau = {DEFAULT_TAU}, all snapshots, one sample, full strength"


@dataclass(frozen=True)
class Case:
    """A held-out task's description, and all that a LoRA may be made of.

    Attributes:
        repository, generator: of the fold. embedding: [s] of the description.
        snapshots: of each expert, [M, P], the latest last.
    """

    repository: ExpertRepository
    generator: LoraGenerator
    embedding: Tensor
    snapshots: Sequence[Tensor] = ()

    def routing(self, k: int = DEFAULT_K, tau: float = DEFAULT_TAU) -> Routing:
        return SparseRouter(self.repository.embeddings).route("", self.embedding, k, tau)

    def prior(self, routing: Routing | None = None) -> SemanticPrior:
        return self.repository.prior(routing or self.routing())

    def sample(self, seed: int, routing: Routing | None = None, prior: SemanticPrior | None = None) -> Lora:
        """What SG-LoRA makes of a routing; ``prior``: in the place of the routing's own."""
        routing = routing or self.routing()
        prior = prior or self.prior(routing)
        return self.lora(self.generator.sample(prior, seed)[0], routing, prior)

    def lora(self, vector: Tensor, routing: Routing, prior: SemanticPrior) -> Lora:
        """The LoRA that a decoded vector [P] stands for."""
        return self.generator.lora(vector, prior, self.merged(routing), self.repository.layout)

    def mean(self) -> Lora:
        """Decoded from the mean of p(z | c)."""
        routing = self.routing()
        prior = self.prior(routing)
        return self.lora(self.generator.mean(prior), routing, prior)

    def centre(self) -> Lora:
        """Where the decoder adds nothing."""
        routing = self.routing()
        prior = self.prior(routing)
        return self.lora(self.generator.centre(prior), routing, prior)

    def decoded(self, seed: int) -> Lora:
        """The decoded factors as they are (the paper)."""
        return Lora.from_vector(self.repository.layout, self.generator.sample(self.prior(), seed)[0])

    def merged(self, routing: Routing | None = None) -> Lora:
        """Top-k, softmax weights, exact: rank k times that of an expert."""
        return self.repository.merged(routing or self.routing())

    def window(self, size: int) -> Case:
        """With means and variances of each expert's latest ``size`` snapshots only."""
        last = [s[-size:] for s in self.snapshots]
        means, stds = torch.stack([s.mean(0) for s in last]), torch.stack([s.std(0, correction=0) for s in last])
        return replace(self, repository=replace(self.repository, means=means, stds=stds))


def within(case: Case) -> SemanticPrior:
    """The prior whose variance is the experts' own, sum_i alpha_i sigma_i^2, without what their means differ by."""
    routing = case.routing()
    return replace(case.prior(routing), variance=routing.weights @ case.repository.stds[routing.chosen].square())


def between(case: Case) -> SemanticPrior:
    """The prior whose variance is what the experts' means differ by, without their own."""
    routing = case.routing()
    means = case.repository.means[routing.chosen]
    return semantic_prior(means, torch.zeros_like(means), routing.weights)


def none(case: Case) -> SemanticPrior:
    """The prior without any variance."""
    prior = case.prior()
    return replace(prior, variance=torch.zeros_like(prior.variance))


def likeliest(case: Case, seed: int, n: int = SAMPLES) -> Lora:
    """Of n samples, the one whose z is likeliest under p(z | c): a choice that asks for no label."""
    prior = case.prior()
    latent = case.generator.latent(prior)
    drawn = [case.generator.sample(prior, seed * n + i) for i in range(n)]

    def distance(z: Tensor) -> float:
        return float(((z - latent.mean[0]).square() / latent.log_variance[0].exp()).sum())

    return case.lora(min(drawn, key=lambda d: distance(d[1]))[0], case.routing(), prior)


def averaged(case: Case, seed: int, n: int = SAMPLES) -> Lora:
    """The exact mean of the weight changes of n samples."""
    return merge([case.sample(seed * n + i) for i in range(n)], [1 / n] * n)


Make = Callable[[Case, int], "Lora | None"]


@dataclass(frozen=True)
class Axis:
    """One thing that is changed: ``variants`` make a LoRA of a case and a seed; ``seeds`` to average over."""

    name: str
    variants: Mapping[str, Make]
    seeds: tuple[int, ...] = SEEDS[:1]


def _k(k: int | None) -> Make:
    return lambda c, s: c.sample(s, c.routing(k=k or len(c.repository)))


def _tau(tau: float) -> Make:
    return lambda c, s: c.sample(s, c.routing(tau=tau))


def _window(size: int) -> Make:
    return lambda c, s: c.window(size).sample(s)


def _strength(strength: float) -> Make:
    return lambda c, s: c.sample(s).scaled(strength)


def _by_confidence(case: Case, seed: int) -> Lora:
    confidence = case.repository.judge(case.routing())
    return case.sample(seed).scaled(confidence.strength if confidence else 1.0)


def _share(share: float) -> Make:
    return lambda c, s: _assembled(c, share=share).sample(s)


def _rank(rank: int) -> Make:
    return lambda c, s: _assembled(c, rank=rank).sample(s)


def _assembled(case: Case, **changed: Any) -> Case:
    """With another assembly; as it is where the generator has none."""
    generator = case.generator
    if generator.assembly is None:
        return case
    return replace(case, generator=replace(generator, assembly=replace(generator.assembly, **changed)))


def _merged(rank: int) -> Make:
    return lambda c, s: reduce_rank(c.merged(), rank)[0]


_BASE = Axis("as it is", {ZERO: lambda c, s: None, BASE: lambda c, s: c.sample(s)}, SEEDS)
AXES = (
    Axis("experts that are routed to", {f"k = {k or 'all'}": _k(k) for k in (1, 2, 4, 8, None)}),
    Axis("temperature", {f"tau = {tau}": _tau(tau) for tau in (0.01, 0.03, 0.1, 0.3, 1.0)}),
    Axis("snapshots behind an expert", {"one snapshot": _window(1), "the last 4": _window(4), "the last 16": _window(16)}),
    Axis(
        "variance in the condition",
        {
            "within experts only": lambda c, s: c.sample(s, prior=within(c)),
            "between experts only": lambda c, s: c.sample(s, prior=between(c)),
            "no variance": lambda c, s: c.sample(s, prior=none(c)),
        },
    ),
    Axis(
        "samples",
        {
            "one sample": lambda c, s: c.sample(s),
            f"likeliest of {SAMPLES}": lambda c, s: likeliest(c, s),
            f"average of {SAMPLES}": lambda c, s: averaged(c, s),
            "mean decode": lambda c, s: c.mean(),
        },
        SEEDS,
    ),
    Axis(
        "what is applied",
        {
            "the decoded factors (the paper's)": lambda c, s: c.decoded(s),
            "without the decoder: merge and shared part": lambda c, s: c.centre(),
            "without the shared part": _share(0.0),
            "half shared": _share(0.5),
            "at rank 2": _rank(2),
            "at rank 4": _rank(4),
            "at rank 16": _rank(16),
        },
    ),
    Axis(
        "strength",
        {f"strength {x}": _strength(x) for x in (0.25, 0.5, 0.75, 1.0, 1.25)} | {"by the confidence": _by_confidence},
    ),
    Axis(
        "rank of the merge",
        {
            "merge, cut to rank 1": _merged(1),
            "merge, cut to rank 2": _merged(2),
            "merge, cut to rank 4": _merged(4),
            "merge, rank 8 (exact)": lambda c, s: c.merged(),
        },
    ),
)


@dataclass(frozen=True)
class Training:
    """A generator trained in another way: a recipe's fields, or without leaving a task's own expert out of its condition."""

    recipe: Mapping[str, Any] = field(default_factory=dict)
    leave_one_out: bool = True


# The first ones say how much chance alone moves: a difference below that is none.
TRAINED: Mapping[str, Training] = {
    "another seed": Training({"seed": 1}),
    "a third seed": Training({"seed": 2}),
    "lambda = 0": Training({"kl": 0.0}),
    "lambda = 1 (the paper's)": Training({"kl": 1.0}),
    "own expert in its condition": Training(leave_one_out=False),
    "ELBO alone (the paper's)": Training({"function": 0.0}),
}


@dataclass(frozen=True)
class AblationRecipe:
    """``folds`` to change things at run time in; ``trained`` the fold that TRAINED trains in, None to leave it out."""

    folds: tuple[int, ...] = tuple(range(FOLDS))
    trained: int | None = 0
    fold: FoldRecipe = field(default_factory=FoldRecipe)


def run(context: ExperimentContext, recipe: AblationRecipe = AblationRecipe()) -> dict[str, Any]:
    """``summarise`` of all variants of AXES, and of TRAINED. Finished folds and trainings are kept."""
    rows: list[dict[str, Any]] = []
    for fold in recipe.folds:
        prepared = prepare_fold(context, fold, recipe.fold)
        key = [
            statistics.identity(prepared.repository, prepared.generator),
            [(a.name, list(a.variants), a.seeds) for a in AXES],
        ]
        rows += context.piece("ablations", f"fold{fold}", key, lambda p=prepared, f=fold: at_run_time(context, p, f))
    result = {"axes": {axis.name: summarise(rows, list(axis.variants)) for axis in AXES}, "base": summarise(rows, [BASE])}
    if recipe.trained is not None:
        prepared = prepare_fold(context, recipe.trained, recipe.fold)
        rows = [dict(r) for r in rows if r["fold"] == recipe.trained]
        for name, training in TRAINED.items():
            generator = recipe.fold.generator
            rows += _trained(context, prepared, recipe, name, training, replace(generator, **training.recipe))
        result["trained"] = {"fold": recipe.trained, **summarise(rows, list(TRAINED))}
    return result


def at_run_time(context: ExperimentContext, prepared: PreparedFold, fold: int) -> list[dict[str, Any]]:
    """A row for each held-out task, variant and seed."""
    rows = []
    for number, task in enumerate(prepared.held, 1):
        case = _case(context, prepared, task.description)
        known: dict[str, dict[str, float]] = {}  # several variants are what the method does anyway
        evaluation = context.pool.evaluation(task.test)
        for axis in (_BASE, *AXES):
            for variant, make in axis.variants.items():
                for seed in axis.seeds:
                    lora = make(case, seed)
                    if (key := _checksum(lora)) not in known:
                        known[key] = _measured(context, evaluation, lora)
                    where = {"fold": fold, "task": task.name, "group": task.group}
                    rows.append({**where, "variant": variant, "seed": seed, **known[key]})
        if number % 5 == 0 or number == len(prepared.held):
            context.log(f"ablations, fold {fold}: {number} of {len(prepared.held)} held-out tasks")
    return rows


def _trained(
    context: ExperimentContext,
    prepared: PreparedFold,
    recipe: AblationRecipe,
    name: str,
    training: Training,
    own: GeneratorRecipe,
) -> list[dict[str, Any]]:
    """A row for each held-out task and seed, with a generator that was trained in another way."""

    experts = [TrainedExpert.of(s) for s in prepared.snapshots]

    def make() -> list[dict[str, Any]]:
        context.log(f"ablations, fold {recipe.trained}: a generator with {name}")
        if training.leave_one_out:
            told = replace(recipe.fold, generator=own)
            fitted = generator_part(context, prepared.seen, experts, told, own.seed, prepared.single)
        else:
            parts = (context.backbone, context.pool, prepared.seen, experts, recipe.fold.experts, own, context.log)
            fitted = fit_generator(*parts, leave_one_out=False, shared=prepared.single)
        rows = []
        for task in prepared.held:
            case = replace(_case(context, prepared, task.description), generator=fitted)
            evaluation = context.pool.evaluation(task.test)
            for seed in SEEDS:
                found = _measured(context, evaluation, case.sample(seed))
                where = {"fold": recipe.trained, "task": task.name, "group": task.group}
                rows.append({**where, "variant": name, "seed": seed, **found})
        return rows

    key = [name, statistics.identity(prepared.repository), vars(own), training.leave_one_out, recipe.fold, SEEDS]
    return context.piece("ablations", f"trained-{recipe.trained}", key, make)


def _case(context: ExperimentContext, prepared: PreparedFold, description: str) -> Case:
    embedding = context.backbone.encode_sentence([description])[0]
    return Case(prepared.repository, prepared.generator, embedding, prepared.snapshots)


def _measured(context: ExperimentContext, evaluation: tuple, lora: Lora | None) -> dict[str, float]:
    maps, texts, relevance = evaluation
    return statistics.both_ways(measure(context.backbone.suffix(maps, lora), texts, relevance))


def _checksum(lora: Lora | None) -> str:
    parts = [] if lora is None else [p for f in lora.factors.values() for p in (f.a, f.b)]
    return hashlib.sha256(b"".join(p.contiguous().numpy().tobytes() for p in parts)).hexdigest()


def summarise(rows: Sequence[Mapping[str, Any]], variants: Sequence[str]) -> dict[str, Any]:
    """{group: {"tasks": n, variant: {"R@1": mean, "R@5": mean, "gain": …, "minus": …}}}: gain over zero-shot and difference to
    BASE in R@1, each with its paired 95 % bootstrap interval over tasks; "minus R@5" for R@5. In points, both directions."""
    found: dict[str, Any] = {}
    for group, own in statistics.grouped(rows):
        found[group] = {"tasks": len({r["task"] for r in own})}
        for variant in variants:
            # With its own seeds only: the same noise on both sides.
            seeds = {r["seed"] for r in own if r["variant"] == variant}
            alike = [r for r in own if r["variant"] != BASE or r["seed"] in seeds]
            found[group][variant] = {
                **{m: statistics.mean(own, variant, m) for m in ("R@1", "R@5")},
                "gain": statistics.difference(own, variant, ZERO, "R@1"),
                "minus": statistics.difference(alike, variant, BASE, "R@1"),
                "minus R@5": statistics.difference(alike, variant, BASE, "R@5"),
            }
    return found


def findings(result: Mapping[str, Any]) -> list[str]:
    """For each axis, which variants differ from the method as it is; what chance alone moves."""
    said = []
    for name, found in result["axes"].items():
        said.append(f"{name[0].upper()}{name[1:]}: {_differences(found)}.")
    if "trained" in result:
        trained = result["trained"]
        seeds = [trained["all"][s]["minus"][0] for s in list(TRAINED)[:2]]
        said.append(
            f"Generators trained in another way (one fold, {trained['all']['tasks']} held-out tasks): {_differences(trained)}. "
            f"Another seed alone moves R@1 by {markdown.listed([f'{v:+.1f}' for v in seeds])}."
        )
    return said


def _differences(found: Mapping[str, Any]) -> str:
    """In words, R@1 against the method as it is, group by group."""
    parts = []
    for group in (g for g in statistics.GROUPS if g in found):
        variants = {v: row["minus"] for v, row in found[group].items() if v != "tasks"}
        sure = [f"{v} ({markdown.difference(d)})" for v, d in variants.items() if markdown.above(d) or markdown.below(d)]
        parts += [f"{markdown.listed(sure)} ({group})"] if sure else []
    return f"R@1 differs with {'; '.join(parts)}" if parts else "no variant's R@1 differs from the method as it is"


def table(result: Mapping[str, Any]) -> str:
    """Every variant: gain over zero-shot, and difference to the method as it is, by group."""
    groups = [g for g in statistics.GROUPS if g in result["base"]]
    counts = ", ".join(f"{result['base'][g]['tasks']} in {g}" for g in groups)
    parts = [f"The method as it is: {DEFAULTS}. Held-out tasks: {counts}."]
    head = ["", "gain over zero-shot, R@1", "difference to the method as it is, R@1", *groups[1:], "R@5"]
    for name, found in [*result["axes"].items(), *_trained_axis(result)]:
        rows = [
            [
                variant,
                markdown.difference(found["all"][variant]["gain"]),
                *(markdown.difference(found[g][variant]["minus"]) if g in found else "" for g in groups),
                markdown.difference(found["all"][variant]["minus R@5"]),
            ]
            for variant in found["all"]
            if variant != "tasks"
        ]
        parts.append(f"{name[0].upper()}{name[1:]}\n\n{markdown.table(head, rows)}")
    return "\n\n".join(parts)


def _trained_axis(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    if "trained" not in result:
        return []
    return [(f"generator trained anew (fold {result['trained']['fold']})", result["trained"])]


def plot(result: Mapping[str, Any]) -> Figure:
    """Every variant's difference to the method as it is, R@1 over all held-out tasks."""
    axes_found = [*result["axes"].items(), *_trained_axis(result)]
    rows = [{v: row["minus"] for v, row in found["all"].items() if v != "tasks"} for _, found in axes_found]
    ends = [end for shown in rows for _, *interval in shown.values() for end in interval]
    low, high = min(ends), max(ends)
    margin = 0.05 * (high - low)
    heights = [0.55 + 0.24 * len(r) for r in rows]
    figure, panels = figures.panels(len(rows), sum(heights) / len(rows), grid="x", ratios=heights)
    for panel, (name, _), shown in zip(panels, axes_found, rows, strict=True):
        figures.intervals(panel, shown, f"{name[0].upper()}{name[1:]}")
        panel.set_xlim(low - margin, high + margin)
    panels[-1].set_xlabel("R@1 minus that of the method as it is, points")
    return figure
