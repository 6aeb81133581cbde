"""Ablations against closed forms and a second library, and a run on made-up tasks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up_folds import RECIPE, dense, made_up_study
from torch.distributions import Normal

from core.common.metrics import measure
from core.experiments import ablations, figures, statistics
from core.experiments.context import ExperimentContext
from core.experiments.folds import PreparedFold
from core.sglora.prior import semantic_prior
from core.sglora.router import SparseRouter
from core.training.experts import TrainedExpert
from core.training.generator import GeneratorRecipe, fit_generator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def case(context: ExperimentContext, prepared: PreparedFold) -> ablations.Case:
    embedding = context.backbone.encode_sentence(["a photo of thing 3"])[0]
    return ablations.Case(prepared.repository, prepared.generator, embedding, prepared.snapshots)


def test_the_two_parts_of_the_variance_make_up_the_whole(case: ablations.Case) -> None:
    routing = case.routing()
    weights = routing.weights.double()[:, None]
    means, stds = (x[routing.chosen].double() for x in (case.repository.means, case.repository.stds))
    whole = (weights * (stds**2 + means**2)).sum(0) - (weights * means).sum(0) ** 2
    parts = ablations.within(case).variance + ablations.between(case).variance
    torch.testing.assert_close(parts.double(), whole, rtol=1e-3, atol=1e-8)
    torch.testing.assert_close(ablations.within(case).variance.double(), (weights * stds**2).sum(0), rtol=1e-4, atol=1e-10)
    assert not ablations.none(case).variance.any()
    for changed in (ablations.within, ablations.between, ablations.none):
        torch.testing.assert_close(changed(case).mean, case.prior().mean)


def test_the_likeliest_sample_has_the_highest_density(case: ablations.Case) -> None:
    prior = case.prior()
    latent = case.generator.latent(prior)
    normal = Normal(latent.mean[0], (0.5 * latent.log_variance[0]).exp())
    for seed in range(3):
        drawn = [case.generator.sample(prior, 8 * seed + i) for i in range(8)]
        best = max(drawn, key=lambda d: float(normal.log_prob(d[1]).sum()))
        expected = case.lora(best[0], case.routing(), prior)
        assert torch.equal(ablations.likeliest(case, seed).vector(), expected.vector())


def test_the_average_is_that_of_weight_changes(case: ablations.Case) -> None:
    drawn = [dense(case.sample(8 + i)) for i in range(8)]
    for name, delta in dense(ablations.averaged(case, 1)).items():
        torch.testing.assert_close(delta, torch.stack([d[name] for d in drawn]).mean(0), rtol=1e-3, atol=1e-6)


def test_leaving_out_the_own_expert_is_what_makes_a_generator_go_beyond_neighbours(
    context: ExperimentContext, prepared: PreparedFold
) -> None:
    experts = [TrainedExpert.of(s) for s in prepared.snapshots]
    means = torch.stack([e.mean for e in experts])

    def error(leave_one_out: bool) -> float:
        """Of each expert's LoRA as it is made of all the others."""
        recipe = GeneratorRecipe(
            dimensions=6, latent=4, hidden=32, warm_steps=300, steps=0, batch=16, dropout=0.0, lr=3e-3, kept=1.0
        )
        parts = (context.backbone, context.pool, prepared.seen, experts, RECIPE.experts, recipe, context.log)
        generator = fit_generator(*parts, leave_one_out=leave_one_out)
        found = []
        for i in range(len(experts)):
            others = [j for j in range(len(experts)) if j != i]
            embeddings = prepared.repository.embeddings
            routing = SparseRouter(embeddings[others]).route("", embeddings[i])
            chosen = torch.tensor(others)[routing.chosen]
            prior = semantic_prior(means[chosen], torch.zeros_like(means[chosen]), routing.weights)
            found.append(float((generator.mean(prior) - means[i]).square().mean()))
        return float(np.mean(found))

    assert error(True) < 0.9 * error(False)


def test_windows_take_the_latest_snapshots(case: ablations.Case, prepared: PreparedFold) -> None:
    two = case.window(2).repository
    for row, snapshots in enumerate(prepared.snapshots):
        last = snapshots.double().numpy()[-2:]
        np.testing.assert_allclose(two.means[row], last.mean(0), atol=1e-6)
        np.testing.assert_allclose(two.stds[row], last.std(0), atol=1e-6)
    assert not case.window(1).repository.stds.any()
    torch.testing.assert_close(case.window(99).repository.means, case.repository.means)


def test_differences_pair_the_same_tasks_and_seeds() -> None:
    def row(task: str, variant: str, seed: int, value: float) -> dict[str, object]:
        group = "scenes" if task < "c" else "food"
        return {"task": task, "group": group, "variant": variant, "seed": seed, "R@1": value, "R@5": 2 * value}

    rows = []
    for i, task in enumerate("abcd"):
        rows += [row(task, ablations.ZERO, s, 5.0 * i) for s in range(3)]
        rows += [row(task, ablations.BASE, s, 5.0 * i + 3 + s) for s in range(3)]
        rows += [row(task, "k = 1", 0, 5.0 * i + 4), *(row(task, "mean", s, 5.0 * i + 3 + s) for s in range(3))]
    found = ablations.summarise(rows, ["k = 1", "mean"])
    assert found["all"]["k = 1"]["minus"] == [1.0, 1.0, 1.0]  # seed 0 against seed 0
    assert found["all"]["k = 1"]["minus R@5"] == [2.0, 2.0, 2.0]
    assert found["all"]["k = 1"]["gain"] == [4.0, 4.0, 4.0]
    assert found["all"]["mean"]["minus"] == [0.0, 0.0, 0.0]
    assert (found["scenes"]["tasks"], found["scenes"]["k = 1"]["R@1"]) == (2, 6.5)


def test_a_run_changes_one_thing_at_a_time(context: ExperimentContext, prepared: PreparedFold) -> None:
    recipe = ablations.AblationRecipe((0,), 0, RECIPE)
    told: list[str] = []
    context = replace(context, log=told.append)
    vars(context)["pool"] = made_up_study(context.cache).pool
    result = ablations.run(context, recipe)
    rows = ablations.at_run_time(context, prepared, 0)
    engine = prepared.engine(context)
    for task in prepared.held:
        maps, texts, relevance = context.pool.evaluation(task.test)

        def recalls(lora, maps=maps, texts=texts, relevance=relevance) -> dict[str, float]:
            return statistics.both_ways(measure(context.backbone.suffix(maps, lora), texts, relevance))

        own = {(r["variant"], r["seed"]): {m: r[m] for m in statistics.MEASURES} for r in rows if r["task"] == task.name}
        described = task.description
        for seed in ablations.SEEDS:
            assert own[ablations.BASE, seed] == recalls(engine.adapt(described, seed=seed, strength=1.0).lora)
        assert own["k = 4", 0] == own["tau = 0.1", 0] == own["strength 1.0", 0] == own[ablations.BASE, 0]
        assert own["k = 1", 0] == recalls(engine.adapt(described, k=1, strength=1.0).lora)
        assert own["tau = 1.0", 0] == recalls(engine.adapt(described, tau=1.0, strength=1.0).lora)
        assert own["strength 0.5", 0] == recalls(engine.adapt(described, strength=0.5).lora)
        assert own["by the confidence", 0] == recalls(engine.adapt(described).lora)
        assert own["merge, rank 8 (exact)", 0] == recalls(engine.merged(engine.route(described)))
        assert own[ablations.ZERO, 0] == recalls(None)
    assert set(result["trained"]["all"]) == {"tasks", *ablations.TRAINED}
    assert all(axis.name in result["axes"] for axis in ablations.AXES)
    assert len(ablations.findings(result)) == len(ablations.AXES) + 1
    assert "| k = all |" in ablations.table(result)
    assert figures.svg(ablations.plot, result).startswith("<svg")

    told.clear()
    assert ablations.run(context, recipe) == result
    assert not [line for line in told if "ablations" in line or "generator" in line]
