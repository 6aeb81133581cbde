"""Distances and spread against weight changes that are written out, silhouettes against scikit-learn on them, and a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_folds import RECIPE, dense
from sklearn.metrics import pairwise_distances, silhouette_score
from sklearn.neighbors import NearestNeighbors

from core.backbones.lora import Lora
from core.common.runtime import one_core
from core.experiments import figures, latent, statistics
from core.experiments.context import ExperimentContext
from core.experiments.cosines import products
from core.experiments.folds import PreparedFold

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(context: ExperimentContext, prepared: PreparedFold) -> dict[str, latent.Cloud]:
    with one_core():  # as the engine does: sums come in the same order
        return {cloud.kind: cloud for cloud in latent.clouds(context, prepared)}


def written_out(loras: list[Lora]) -> np.ndarray:
    """Weight changes as rows, [n, all weights]."""
    return np.stack([torch.cat([d.reshape(-1).double() for d in dense(lora).values()]).numpy() for lora in loras])


def test_products_are_those_of_weight_changes(made: dict[str, latent.Cloud]) -> None:
    loras = [cloud.loras[0] for cloud in made.values()]
    assert {lora.rank for lora in loras} == {2, 8}
    flat = written_out(loras)
    np.testing.assert_allclose(products(loras).numpy(), flat @ flat.T, rtol=1e-4, atol=1e-9)


def test_clouds_are_what_the_engine_would_write(
    context: ExperimentContext, prepared: PreparedFold, made: dict[str, latent.Cloud]
) -> None:
    engine, held = prepared.engine(context), made[latent.HELD]
    for row, task in enumerate(t for t in prepared.held for _ in range(latent.SAMPLES)):
        adaptation = engine.adapt(task.description, seed=row % latent.SAMPLES, strength=1.0)
        assert held.tasks[row] == task.name
        assert torch.equal(held.loras[row].vector(), adaptation.lora.vector())
        assert held.nearest[row] == prepared.repository.experts[int(adaptation.routing.chosen[0])].name
    known = made[latent.KNOWN]
    assert all(near != own for near, own in zip(known.nearest, known.tasks, strict=True))
    snapshots = [v for some in prepared.snapshots for v in some]  # fewer than SAMPLES each: all of them
    assert all(torch.equal(a.vector(), b) for a, b in zip(made[latent.EXPERTS].loras, snapshots, strict=True))


def test_spread_is_that_of_means_and_deviations() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(c, 0.5, (6, 5)) for c in (0, 3, 8)])
    names = ["a"] * 6 + ["b"] * 6 + ["c"] * 6
    centres, within = latent.centred(pairwise_distances(points) ** 2, names)
    means = points.reshape(3, 6, 5).mean(1)
    np.testing.assert_allclose(centres, pairwise_distances(means) ** 2, atol=1e-9)
    np.testing.assert_allclose(within, points.reshape(3, 6, 5).var(1).sum(1))
    found = latent.spread(centres, within)
    assert found["between"] == pytest.approx(np.sqrt(means.var(0).sum()), abs=1e-3)
    assert found["within"] == pytest.approx(np.sqrt(points.reshape(3, 6, 5).var(1).sum(1).mean()), abs=1e-3)
    variances = np.linalg.eigvalsh(np.cov(means.T))
    assert found["directions"] == pytest.approx(variances.sum() ** 2 / (variances**2).sum(), abs=0.06)
    assert latent.kept(centres / 4, centres) == [50.0, 50.0, 50.0]


def test_as_many_directions_as_there_are() -> None:
    for number in (1, 2, 5):
        cross = np.concatenate([np.eye(5)[:number], -np.eye(5)[:number]])
        found = latent.spread(pairwise_distances(cross) ** 2, np.zeros(2 * number))
        assert found["directions"] == number


def test_a_map_keeps_clusters_apart() -> None:
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.normal(20 * c, 1, (20, 8)) for c in range(3)])
    labels = np.repeat([0, 1, 2], 20)
    placed = latent.tsne(pairwise_distances(points) ** 2)
    assert silhouette_score(placed, labels) > 0.5


def test_a_run_says_where_generated_loras_lie(context: ExperimentContext, made: dict[str, latent.Cloud]) -> None:
    result = latent.run(context, 0, RECIPE)
    for kind in (latent.EXPERTS, latent.KNOWN, latent.HELD):
        cloud = made[kind]
        flat = written_out(list(cloud.loras))
        assert result["silhouette"][kind]["by task"] == pytest.approx(silhouette_score(flat, list(cloud.tasks)), abs=0.002)
        scenes = np.array([g == "scenes" for g in cloud.groups])
        means = np.stack([flat[np.array(cloud.tasks) == t].mean(0) for t in sorted({*np.array(cloud.tasks)[scenes]})])
        assert result["spread"]["scenes"][kind]["between"] == pytest.approx(np.sqrt(means.var(0).sum()), rel=2e-3)
    assert result["silhouette"][latent.MERGES]["by task"] is None  # one of each
    top, bottom = (result["spread"]["all"][k]["between"] for k in (latent.MERGES, latent.EXPERTS))
    assert result["kept"]["all"][latent.MERGES][0] == pytest.approx(100 * top / bottom, rel=5e-3)

    experts, held = made[latent.EXPERTS], made[latent.HELD]
    index = NearestNeighbors(n_neighbors=1).fit(written_out(list(experts.loras)))
    closest = index.kneighbors(written_out(list(held.loras)), return_distance=False)[:, 0]
    alike = [experts.groups[i] == g for i, g in zip(closest, held.groups, strict=True)]
    assert result["neighbours"][latent.HELD]["group"] == pytest.approx(100 * np.mean(alike), abs=0.1)

    shown = [p["task"] for p in result["map"] if p["kind"] == latent.HELD]
    assert shown == list(held.tasks)
    assert len(latent.findings(result)) == 2 * len(statistics.GROUPS) + 2
    assert f"| scenes | {latent.KNOWN} |" in latent.table(result)
    svg = figures.svg(latent.plot, result)
    assert all(task in svg for task in held.tasks)


def test_a_finished_fold_is_read(context: ExperimentContext, tmp_path: Path) -> None:
    before = latent.run(context, 0, RECIPE)
    (file,) = context.folder("latent").glob("*.json")
    file.write_text(file.read_text().replace('"samples": 8', '"samples": 99'))
    assert latent.run(context, 0, RECIPE) == before | {"samples": 99}
