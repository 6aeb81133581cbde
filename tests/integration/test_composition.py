"""Picking experts against brute force, the worth of coverage against least squares, and a run on made-up tasks."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from made_up_folds import RECIPE, made_up_study

from core.common.metrics import measure
from core.experiments import composition, figures, statistics
from core.experiments.folds import prepare_fold

pytestmark = pytest.mark.slow


def covered(similarity: np.ndarray, kept: tuple[int, ...]) -> float:
    return sum(max(row[i] for i in kept) for row in similarity.tolist()) / len(similarity)


def test_greedy_is_near_the_best_set_and_exact_in_its_first_step() -> None:
    for seed in range(20):
        similarity = np.random.default_rng(seed).uniform(size=(9, 8))
        order = composition.greedy(similarity, 8)
        assert sorted(order) == list(range(8))
        for size in (1, 2, 3, 4):
            best = max(covered(similarity, kept) for kept in itertools.combinations(range(8), size))
            found = covered(similarity, tuple(order[:size]))
            assert found >= (1 - 1 / np.e) * best
            if size == 1:
                assert found == best
        for size in range(1, 8):  # no other expert would have been a better next one
            step = covered(similarity, tuple(order[: size + 1]))
            assert step >= max(covered(similarity, (*order[:size], i)) for i in range(8)) - 1e-12


def test_greedy_takes_one_of_each_cluster_and_the_larger_cluster_first() -> None:
    cluster = np.array([0, 0, 0, 1, 1, 2])
    similarity = np.where(cluster[:, None] == cluster, 0.9, 0.1) + 0.1 * np.eye(6)
    assert [cluster[i] for i in composition.greedy(similarity, 3)] == [0, 1, 2]


def test_greedy_starts_as_well_where_all_similarities_are_negative() -> None:
    similarity = np.array([[-0.9, -0.2], [-0.8, -0.3]])
    assert composition.greedy(similarity, 2) == [1, 0]


def test_farthest_first_goes_from_the_middle_to_the_ends() -> None:
    places = np.array([0.0, 4.0, 5.0, 5.5, 11.0])
    similarity = -np.abs(places[:, None] - places)
    # 5.0 is the middle; 11 is 6 away; then 0 is 5 away; 4 lies 1 from 5, 5.5 half as far.
    assert composition.farthest_first(similarity, 5) == [2, 4, 0, 1, 3]


def made_up_rows(seed: int, noise: float) -> list[dict[str, object]]:
    rng = np.random.default_rng(seed)
    rows = []
    for task in range(6):
        for size in (1, 4):
            for draw in range(3):
                x = rng.uniform(0.2, 0.9)
                gain = 30 * x + 7 * task + 2 * size + noise * rng.normal()
                where = {"task": f"t{task}", "group": "scenes" if task < 4 else "food", "experts": size, "draw": draw}
                rows.append({**where, "rule": composition.RANDOM, "method": "SG-LoRA", "coverage": x, "R@1": gain, "R@5": gain})
    return rows


def test_slope_is_that_of_least_squares_with_a_constant_for_each_task_and_number() -> None:
    assert composition.slope(made_up_rows(0, 0.0)) == [3.0, 3.0, 3.0]
    rows = made_up_rows(1, 5.0)
    cells = sorted({(r["task"], r["experts"]) for r in rows})
    x = np.zeros((len(rows), 1 + len(cells)))
    for i, row in enumerate(rows):
        x[i, 0], x[i, 1 + cells.index((row["task"], row["experts"]))] = 10 * row["coverage"], 1
    expected = np.linalg.lstsq(x, np.array([r["R@1"] for r in rows]), rcond=None)[0][0]
    found, low, high = composition.slope(rows)
    assert found == pytest.approx(expected, abs=0.01)
    assert low < found < high


def test_by_coverage_goes_from_least_to_best_covered() -> None:
    bins = composition.by_coverage(made_up_rows(2, 0.0))
    assert len(bins) == composition.BINS
    assert [b["coverage"] for b in bins] == sorted(b["coverage"] for b in bins)


def test_a_run_measures_subsets_as_the_experts_themselves(tmp_path: Path) -> None:
    study = made_up_study(tmp_path)
    result = composition.run(study, [0], RECIPE)
    prepared = prepare_fold(study, 0, RECIPE)
    (file,) = study.folder("composition").glob("*.json")
    rows = composition.run_fold(study, prepared, 0)
    one = {"rule": composition.GREEDY, "experts": 1, "method": "top-k merge"}
    embeddings = prepared.repository.embeddings
    (best,) = composition.greedy((embeddings @ embeddings.T).numpy(), 1)
    for task in prepared.held:
        maps, texts, relevance = study.pool.evaluation(task.test)
        after, before = (
            statistics.both_ways(measure(study.backbone.suffix(maps, lora), texts, relevance))
            for lora in (prepared.repository.lora(best), None)
        )
        (row,) = [r for r in rows if r["task"] == task.name and one.items() <= r.items()]
        assert row["R@1"] == pytest.approx(after["R@1"] - before["R@1"], abs=0.01)
        said = study.backbone.encode_sentence([task.description, prepared.seen[best].description])
        assert row["coverage"] == pytest.approx(float(said[0] @ said[1]), abs=1e-3)
    assert set(result) == set(statistics.GROUPS)
    assert "drawn at random" in composition.findings(result)[0]
    greedy = result["scenes"]["SG-LoRA"]
    assert greedy["minus random, all sizes"]["greedy"][0] == pytest.approx(
        np.mean([v[0] for v in greedy["minus random"]["greedy"].values()]), abs=0.02
    )
    assert "| all experts |" in composition.table(result)
    assert figures.svg(composition.plot, result).startswith("<svg")
    kept = file.read_text()
    assert composition.run(study, [0], RECIPE) == result
    assert file.read_text() == kept
