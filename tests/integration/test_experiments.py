"""Controls against hand-made weight changes, folds that keep held-out photos out, and summaries of made-up rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.backbones.lora import Lora, LoraLayout, LoraModule
from core.data import Sample
from core.experiments import controls, crossdata, descriptions, domains, folds, generation, routing
from core.sglora import recall_summary
from core.sglora.cvae import ConditionalVAE, CvaeConfig
from core.sglora.generator import LoraGenerator
from core.sglora.repository import Expert, ExpertRepository
from core.sglora.router import SparseRouter
from core.sglora.subspace import Basis
from core.training.task_dataset import Pool
from core.training.tasks import DOMAINS, EVERYDAY, SCENES, Task

pytestmark = pytest.mark.slow

LAYOUT = LoraLayout((LoraModule("blocks.0.q", 6, 5), LoraModule("blocks.0.v", 6, 5)), 2)


@pytest.fixture(scope="module")
def setting() -> controls.Setting:
    g = torch.Generator().manual_seed(0)
    n = 5
    means = torch.randn(n, LAYOUT.size, generator=g)
    embeddings = torch.nn.functional.normalize(torch.randn(n, 8, generator=g), dim=-1)
    recalls = {"i2t": {"R@1": 10.0, "R@5": 20.0}, "t2i": {"R@1": 30.0, "R@5": 40.0}, "images": 9}
    better = {"i2t": {"R@1": 12.0, "R@5": 20.0}, "t2i": {"R@1": 34.0, "R@5": 50.0}, "images": 9}
    experts = tuple(
        Expert(f"e{i}", f"photo {i}", "scenes" if i < 3 else "food", "made-up", 9, 0, 1, recalls, better) for i in range(n)
    )
    origin = torch.zeros(LAYOUT.size)
    notes = {"tasks": 6, "won": 5}
    repository = ExpertRepository("f" * 16, LAYOUT, experts, means, torch.full_like(means, 0.1), embeddings, origin, notes)
    basis = Basis.fit(means, origin, 3)
    generator = LoraGenerator(basis, ConditionalVAE(CvaeConfig(basis.dimensions)), "f" * 16, {})
    sentence = torch.nn.functional.normalize(torch.randn(8, generator=g), dim=-1)
    return controls.Setting(repository, generator, SparseRouter(embeddings).route("x", sentence, 3, 0.1), 0)


def deltas(vector: torch.Tensor) -> dict[str, torch.Tensor]:
    """Weight changes from a vector, read by hand: A then B, linear by linear."""
    out, start = {}, 0
    for m in LAYOUT.modules:
        a = vector[start : start + 12].reshape(2, 6)
        b = vector[start + 12 : start + 22].reshape(5, 2)
        out[m.name] = torch.einsum("or,ri->oi", b, a)
        start += 22
    return out


def assert_delta(lora: Lora, expected: dict[str, torch.Tensor]) -> None:
    for name, delta in expected.items():
        torch.testing.assert_close(lora.factors[name].delta, delta, rtol=1e-4, atol=1e-5)


def weighted(setting: controls.Setting, weights: dict[int, float]) -> dict[str, torch.Tensor]:
    parts = {i: deltas(setting.repository.means[i]) for i in weights}
    return {m.name: sum(w * parts[i][m.name] for i, w in weights.items()) for m in LAYOUT.modules}


def test_merges_are_exact_sums_of_weight_changes(setting: controls.Setting) -> None:
    chosen = setting.routing.chosen.tolist()
    soft = dict(zip(chosen, setting.routing.weights.tolist(), strict=True))
    assert_delta(controls.softmax_merge(setting), weighted(setting, soft))
    assert_delta(controls.equal_merge(setting), weighted(setting, dict.fromkeys(chosen, 1 / 3)))
    assert_delta(controls.mean_of_all(setting), weighted(setting, dict.fromkeys(range(5), 1 / 5)))
    assert_delta(controls.nearest(setting), weighted(setting, {chosen[0]: 1.0}))


def test_rescaled_merge_has_the_experts_typical_norm_and_the_merges_direction(setting: controls.Setting) -> None:
    chosen, weights = setting.routing.chosen.tolist(), setting.routing.weights.tolist()
    plain, scaled = controls.softmax_merge(setting), controls.rescaled_merge(setting)
    for name in scaled.factors:
        norms = [float(deltas(setting.repository.means[i])[name].norm()) for i in chosen]
        assert float(scaled.factors[name].delta.norm()) == pytest.approx(float(np.dot(weights, norms)), rel=1e-4)
        ratio = scaled.factors[name].delta / plain.factors[name].delta
        torch.testing.assert_close(ratio, ratio.flatten()[0].expand_as(ratio), rtol=1e-3, atol=1e-4)


def test_ties_keeps_the_sign_that_the_pruned_weight_changes_elect(setting: controls.Setting) -> None:
    merged = controls.ties_merge(setting)
    for m in LAYOUT.modules:
        parts = torch.stack([deltas(setting.repository.means[i])[m.name] for i in setting.routing.chosen.tolist()])
        kept = torch.zeros_like(parts)
        for row, part in enumerate(parts):
            flat = part.flatten().abs()
            top = flat.argsort(descending=True)[: int(controls.DENSITY * flat.numel())]
            kept[row].view(-1)[top] = part.flatten()[top]
        elected = kept.sum(0).sign()
        found = merged.factors[m.name].delta
        moved = found != 0
        assert moved.any()
        assert bool((found.sign()[moved] == elected[moved]).all())


def test_dare_keeps_the_expected_sum(setting: controls.Setting) -> None:
    plain = controls.softmax_merge(setting)
    draws = [
        controls.dare_merge(controls.Setting(setting.repository, setting.generator, setting.routing, s)) for s in range(400)
    ]
    for m in LAYOUT.modules:
        mean = torch.stack([d.factors[m.name].delta for d in draws]).mean(0)
        expected = plain.factors[m.name].delta
        assert float((mean - expected).norm() / expected.norm()) < 0.15


def test_ridge_agrees_with_scikit_learn(setting: controls.Setting) -> None:
    from sklearn.linear_model import Ridge

    x, y = setting.repository.embeddings.numpy(), setting.repository.means.numpy()
    expected = Ridge(alpha=controls.RIDGE).fit(x, y).predict(setting.routing.embedding.numpy()[None])[0]
    np.testing.assert_allclose(controls.ridge(setting).vector().numpy(), expected, rtol=1e-4, atol=1e-4)


def test_an_untrained_generator_merges_in_its_basis(setting: controls.Setting) -> None:
    mean = setting.routing.weights @ setting.repository.means[setting.routing.chosen]
    basis = setting.generator.basis
    projected = basis.origin + (mean - basis.origin) @ basis.components.T @ basis.components
    torch.testing.assert_close(controls.sg_lora(setting).vector(), projected, rtol=1e-4, atol=1e-4)


def test_every_task_but_everyday_is_held_out_once() -> None:
    rows = np.arange(3)
    names = [EVERYDAY, *(f"t{i}" for i in range(12))]
    tasks = tuple(Task(n, n, "scenes" if i % 2 else "food", "x", rows, rows, rows) for i, n in enumerate(names))
    pool = Pool((), torch.empty(0), (), (), (), np.empty(0), tasks)
    dealt = [i for fold in folds.folds(pool) for i in fold]
    assert sorted(dealt) == list(range(1, 13))
    assert max(map(len, folds.folds(pool))) - min(map(len, folds.folds(pool))) <= 1


def test_summary_averages_seeds_first_and_pairs_by_task() -> None:
    def row(task: str, group: str, method: str, seed: int, value: float) -> dict[str, object]:
        recalls = dict.fromkeys(("R@1", "R@5", "R@10"), value)
        return {"task": task, "group": group, "method": method, "seed": seed, "i2t": recalls, "t2i": recalls}

    rows = [row(f"t{i}", "scenes" if i < 2 else "food", "zero-shot", 0, 10.0 * i) for i in range(4)]
    rows += [row(f"t{i}", "scenes" if i < 2 else "food", "sg-lora", s, 10.0 * i + 2 + s) for i in range(4) for s in (0, 2)]
    found = generation.summarise(rows)
    assert found["all"]["tasks"] == 4
    assert found["scenes"]["means"]["zero-shot"]["R@1"] == 5.0
    assert found["special domains"]["means"]["sg-lora"]["R@5"] == 28.0
    assert found["all"]["sg-lora minus"]["zero-shot"]["R@1"] == [3.0, 3.0, 3.0]
    assert "| **sg-lora** | 18.0 |" in generation.table(found)
    assert "SG-LoRA is above zero-shot (+3.0 [+3.0, +3.0])" in generation.findings(found)[0]


def test_calibration_sets_predicted_gains_against_observed_ones() -> None:
    def row(task: str, method: str, value: float, **more: object) -> dict[str, object]:
        recalls = {"R@1": value, "R@5": value + 10}
        return {"task": task, "group": "scenes", "method": method, "seed": 0, "i2t": recalls, "t2i": recalls, **more}

    rows = []
    for task, gain, probability, strength in (("a", 4.0, 0.95, 1.0), ("b", -3.0, 0.4, 0.0), ("c", 1.0, 0.6, 0.5)):
        said = {"gain": 2 * gain, "probability": probability, "strength": strength}
        rows += [
            row(task, "zero-shot", 20.0),
            row(task, generation.FULL, 20 + gain, confidence=said),
            row(task, generation.OURS, 20 + strength * gain),
        ]
    found = generation.calibration(rows)
    assert found["correlation"] == pytest.approx(1)
    assert [b["helped"] for b in found["bins"]] == [0.0, 1.0, 1.0]
    assert [t["with strength"] for t in found["tasks"]] == [4.0, 0.0, 0.5]
    assert "adapts 2 of 3 held-out tasks" in generation.findings({"calibration": found})[0]


def test_verification_counts_and_averages(setting: controls.Setting) -> None:
    found = recall_summary.verify(setting.repository)
    assert (found["trained"], found["won"]) == (6, 5)
    assert found["all"]["experts"] == 5
    assert found["scenes"]["gain"]["R@1"][0] == 3.0
    assert found["special domains"]["gain"]["R@5"][0] == 5.0
    assert "5 of 6 experts (83 %)" in recall_summary.findings(found)[0]
    assert "| e0 | photo 0 | 9 | 20.0 → 23.0 | 30.0 → 35.0 | 9 photos |" in recall_summary.table(found)


def test_routing_is_judged_by_rank_weight_and_chance() -> None:
    names = [("dog", "scenes"), ("car", "scenes"), ("food-1", "food"), ("food-2", "food"), ("food", "scenes")]
    assert routing.expected("dog food/ nobody", names) == [0, 2, 3]
    assert routing.expected("food", names) == [4]
    # Similarities by hand: car 0.9, food-2 0.8, dog 0.5, food-1 0.2, food 0.1.
    embeddings = torch.tensor([[0.5], [0.9], [0.2], [0.8], [0.1]])
    routed = SparseRouter(embeddings).route("x", torch.ones(1), 2, 0.1)
    (found,) = routing.judged("kind", routed, names, [0, 2, 3])
    assert (found["rank"], found["in top k"], found["first"]) == (2, True, "car")
    assert found["weight"] == pytest.approx(1 / (1 + np.e), abs=1e-4)
    # Of the ten pairs of experts, only {car, food} holds none of the three.
    assert found["chance"] == [0.6, 0.9]
    assert routing.judged("kind", routed, names, []) == []
    (missed,) = routing.judged("kind", routed, names, [4])
    assert (missed["rank"], missed["in top k"], missed["weight"]) == (5, False, 0.0)

    kinds = routing.summarise([found, missed])
    assert kinds["kind"]["first"] == [0.0, 0.0, 0.0]
    assert kinds["kind"]["top k"][0] == 50.0
    assert kinds["kind"]["chance"] == [40.0, 65.0]
    result = {"k": 2, "experts": 5, "kinds": kinds, "rows": [found, missed]}
    assert "| kind | x | food | car | 5 |" in routing.table(result)
    assert "car (2)" in routing.findings(result)[2]


def test_written_descriptions_are_many_different_and_name_experts_that_exist() -> None:
    written = [d for kind in descriptions.WRITTEN.values() for d in kind]
    assert len({text for text, _ in written}) == len(written) >= 100
    known = {*SCENES, *(f"{domain}/" for domain in DOMAINS), *DOMAINS}
    named = " ".join([*(said for _, said in written), *descriptions.NEIGHBOURS.values(), *descriptions.NEIGHBOURS])
    assert set(named.split()) <= known
    assert set(SCENES) <= set(descriptions.NEIGHBOURS)


def test_coco_tasks_hold_held_out_photos_only_and_differ(tmp_path: Path) -> None:
    dog, car = ("a dog", "my dog"), ("a red car", "cars")
    samples = [
        Sample(tmp_path / f"{i}.jpg", captions=dog if i % 2 else car, categories=("dog",) if i % 2 else ()) for i in range(60)
    ]
    held = np.arange(60) < 50
    found = crossdata.tasks_of(samples, held)
    # The category dog holds the photos that captions name a dog in: one task.
    assert set(found) == {"dog", "car", EVERYDAY}
    assert found["dog"][1].tolist() == list(range(1, 50, 2))
    assert found[EVERYDAY][1].tolist() == list(range(50))
    assert "dog" not in crossdata.tasks_of(samples, np.arange(60) < 20)


def test_domains_average_their_tasks_and_name_what_they_lose() -> None:
    def row(task: str, group: str, method: str, value: float, strength: float) -> dict[str, object]:
        recalls = dict.fromkeys(("R@1", "R@5"), value)
        said = {"probability": 0.5, "strength": strength, "gain": 1.0}
        return {"task": task, "group": group, "method": method, "seed": 0, "i2t": recalls, "t2i": recalls, "confidence": said}

    rows = []
    for task, group, full in (("food-1", "food", -4.0), ("food-2", "food", 1.0), ("sports", "sports", 6.0)):
        strength = 0.0 if group == "food" else 1.0
        values = {"zero-shot": 30.0, "top-k, softmax": 30.0, domains.FULL: 30 + full, domains.OURS: 30 + strength * full}
        rows += [row(task, group, method, value, strength) for method, value in values.items()]
    found = domains.by_domain(rows)
    assert found["food"]["gains"][domains.FULL]["R@5"] == pytest.approx(-1.5)
    assert found["sports"]["gains"][domains.OURS]["R@1"] == pytest.approx(6)
    said = domains.findings({"experts": 9, "domains": found})
    assert "more than 1 is lost in food (-1.5)" in said[0]
    assert "no domain loses more than 1" in said[1] and "all tasks of food" in said[2]
