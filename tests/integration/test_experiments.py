"""Controls compared with weight changes made by hand, and each experiment's own computation with brute force."""

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from random_engines import random_engine
from tiny_models import noise, random_lora, tiny_backbone

from core.backbones.lora import Lora, LoraLayout
from core.backbones.lora_algebra import cosines
from core.data.jsonl import Translation
from core.experiments import classification, composition, controls, latent, routing, runner, statistics
from core.experiments.context import ExperimentContext
from core.experiments.held_tasks import HeldTask, scene_rows
from core.experiments.languages import NATIVE, translated
from core.experts import recall_summary
from core.sglora.engine import Adaptation, SGLora
from core.sglora.repository import Expert
from core.sglora.request import AdapterRequest
from core.training.corpus import Corpus


@pytest.fixture(scope="module")
def engine() -> SGLora:
    """An untrained generator, and experts on top of half of a shared LoRA."""
    made = random_engine(tiny_backbone(adapt_blocks=1), trained=False)
    shared = random_lora(LoraLayout(made.repository.layout.modules, 3), 5)
    return replace(made, repository=replace(made.repository, shared=shared, notes={"recipe": {"share": 0.5}}))


@pytest.fixture(scope="module")
def adaptation(engine: SGLora) -> Adaptation:
    return engine.adapt(AdapterRequest("photos of puppies in the snow", 3))


def assert_sum(engine: SGLora, lora: Lora | None, weights: list[float], vectors: torch.Tensor, share: float = 1.0) -> None:
    """The weight change of a LoRA is ``share`` of the shared one plus the weighted sum over vectors [n, P], read by hand: a
    vector holds the B's, linear by linear."""
    layout, shared, start = engine.repository.layout, engine.repository.shared, 0
    assert lora is not None and shared is not None and layout.a is not None
    for m in layout.modules:
        end = start + layout.rank * m.out_features
        b = vectors[:, start:end].unflatten(1, (-1, layout.rank))
        expected = torch.einsum("n,nor,ri->oi", torch.tensor(weights), b, layout.a[m.name])
        expected += share * shared.factors[m.name].b @ shared.factors[m.name].a
        torch.testing.assert_close(lora.factors[m.name].delta, expected, rtol=1e-4, atol=1e-5)
        start = end


def test_merges_are_exact_sums_of_weight_changes(engine: SGLora, adaptation: Adaptation) -> None:
    means, chosen, weights = engine.repository.means, adaptation.routing.chosen, adaptation.routing.weights.tolist()
    made = {name: method(engine, adaptation) for name, method in controls.METHODS.items()}
    assert made["zero-shot"] is None
    assert_sum(engine, made["merge"], weights, means[chosen])
    assert_sum(engine, made["equal-merge"], [1 / 3] * 3, means[chosen])
    assert_sum(engine, made["mean-of-all"], [1 / 6] * 6, means)
    assert_sum(engine, made["nearest"], [1.0], means[chosen[:1]])
    assert_sum(engine, made["one-lora"], [0.0], means[:1], share=2.0)  # experts use half of it
    assert_sum(engine, adaptation.own, weights, means[chosen], share=0.0)  # an untrained decoder adds nothing to the merge
    assert made["sg-lora"] is adaptation.full


def test_a_photo_belongs_to_a_scene_that_two_captions_name() -> None:
    found = scene_rows({3: ("a dog runs", "my puppy"), 5: ("a dog", "a cat"), 7: ("snow and a dog", "dogs in snow")})
    assert found["dog"].tolist() == [3, 7] and found["snow"].tolist() == [7]


def test_captions_of_one_photo_in_all_languages() -> None:
    """All translate the same English caption, up to spaces and full stops."""
    texts = (("de", "Ein Hund."), ("fr", "un chien"), ("cs", "pes"), ("zh", "一条狗"))
    found = [Translation(language, text, f"A dog{'.' * i}") for i, (language, text) in enumerate(texts)]
    found += [Translation("zh", "一只猫", "A cat."), Translation("zh", "狗", ""), Translation("zh", "只狗", "")]
    english, expected = {"English": "A dog"}, {"German": "Ein Hund.", "French": "un chien", "Czech": "pes", "Chinese": "一条狗"}
    assert translated(found) == english | expected | {"German in lower case": "ein hund", NATIVE: "狗"}
    assert translated(found[1:]) == translated(found[:5]) == {}, "no German, and no native speaker's"


def test_summary_averages_seeds_first_and_pairs_by_task() -> None:
    values = (("zero-shot", (1.0, 2.0, 3.0)), ("sg-lora", (2.0, 4.0, 3.0)), ("sg-lora", (4.0, 6.0, 5.0)))  # two seeds
    made = [{"group": "scenes", "task": i, "variant": name, "R@1": v} for name, own in values for i, v in enumerate(own)]
    found = statistics.summary(made, "sg-lora", ["R@1"])
    assert set(found) == {"scenes"} and found["scenes"]["tasks"] == 3
    methods = found["scenes"]["methods"]
    assert methods["sg-lora"]["mean"]["R@1"] == 4.0 and methods["sg-lora"]["ours minus it"] is None
    assert methods["zero-shot"]["ours minus it"]["R@1"][0] == pytest.approx(2.0)


def test_verification_counts_and_averages(engine: SGLora) -> None:
    recalls = {"i2t": {"R@1": 10.0, "R@5": 20.0}, "t2i": {"R@1": 30.0, "R@5": 40.0}, "images": 9}
    better = {"i2t": {"R@1": 12.0, "R@5": 20.0}, "t2i": {"R@1": 34.0, "R@5": 50.0}, "images": 9}
    experts = tuple(
        Expert(f"e{i}", f"photo {i}", "scenes" if i < 3 else "food", "none", 9, 0, 1, recalls, better if i else recalls)
        for i in range(5)
    )
    found = recall_summary.verify(replace(engine.repository, experts=experts))
    assert (found["trained"], found["won"]) == (5, 4)
    assert found["all"]["experts"] == 5
    assert found["special domains"]["gain"]["R@5"][0] == 5.0


def context_of(folder: Path, **parts: Any) -> ExperimentContext:
    made = ExperimentContext(folder, folder, tiny_backbone(), lambda line: None)
    made.__dict__.update({"contents": "", "corpus": None, **parts})
    return made


def test_equal_loras_are_measured_once(engine: SGLora, tmp_path: Path) -> None:
    photos, calls = np.arange(3), list[str]()
    tasks = {"scenes": [HeldTask(name, name, "scenes", photos, photos) for name in ("a", "b")]}

    def measure(corpus: Corpus, task: HeldTask, lora: Lora | None) -> dict[str, float]:
        calls.append(task.name)
        return {"norm": 0.0 if lora is None else float(lora.vector().norm())}

    def variants(task: HeldTask) -> list[runner.Variant]:
        again = engine.repository.lora(1)
        return [({"variant": "none"}, None), ({"variant": "x"}, engine.repository.lora(1)), ({"variant": "y"}, again)]

    rows = runner.measured(context_of(tmp_path), "test", tasks, variants, measure)
    assert calls == ["a", "a", "b", "b"] and [row["variant"] for row in rows] == ["none", "x", "y"] * 2
    assert rows[1]["norm"] == rows[2]["norm"] == pytest.approx(float(engine.repository.lora(1).vector().norm()))


def test_routing_counts_by_hand(engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experts = engine.repository.experts
    assert [e.name for e, ok in zip(experts, routing.right("dog snow aerial/", experts), strict=True) if ok] == ["dog", "snow"]
    monkeypatch.setattr(routing, "WRITTEN", {"dogs": {"a dog": "dog", "a bicycle": "sea"}, routing.NONE: {"invoices": ""}})
    found = json.loads(json.dumps(routing.run(context_of(tmp_path, engine=engine))))
    assert found["kinds"]["dogs"]["first"][0] == 50.0, "an expert's own sentence is closest to it"
    assert found["kinds"]["dogs"]["chance"] == pytest.approx(100 / 6, abs=0.06)


def test_covering_is_greedy_and_close_to_the_best_set() -> None:
    unit = torch.nn.functional.normalize(noise(9, 4), dim=1)
    similarity = (unit @ unit.T).numpy().clip(0)

    def cover(some: tuple[int, ...] | list[int]) -> float:
        return float(similarity[:, list(some)].max(1).mean())

    order = composition.covering(similarity, 4)
    for n in range(4):
        assert cover(order[: n + 1]) == pytest.approx(max(cover([*order[:n], i]) for i in range(9)))
    assert cover(order) >= (1 - 1 / np.e) * max(map(cover, combinations(range(9), 4)))
    made = list(composition.subsets(unit.numpy()))
    assert len(made) == 2 * (1 + composition.DRAWS) and all(len(set(keep)) == int(v.split()[-1]) for v, keep in made)


def test_one_more_expert_brings_the_mean_difference() -> None:
    values = {0: {"a": 10.0, "b": 20.0}, 1: {"a": 14.0, "b": 21.0}, 2: {"a": 15.0}}
    rows = [{"task": t, "variant": f"{n} {composition.OWN}", "R@1": v} for n, own in values.items() for t, v in own.items()]
    found = composition.one_more(rows)
    assert {step: (v["tasks"], v["each"][0]) for step, v in found.items()} == {"0 to 1": (2, 2.5), "1 to 2": (1, 1.0)}


def test_cosines_are_those_of_the_weight_changes(engine: SGLora) -> None:
    layout, means = engine.repository.layout, engine.repository.means
    scaled = replace(layout, a={name: 2 * a + 0.1 for name, a in (layout.a or {}).items()})  # no rows of unit length
    flat = torch.stack([torch.cat([f.delta.flatten() for f in Lora.from_vector(scaled, m).factors.values()]) for m in means])
    expected = torch.corrcoef(torch.cat([flat, -flat], 1)).numpy()  # without a mean, a correlation is a cosine
    assert cosines(scaled, means).numpy() == pytest.approx(expected, abs=1e-4)
    kinds = [("scenes", False), ("scenes", False), ("food", False), ("food", True), ("food", True), ("aerial", True)]
    found = classification.of_pairs(expected, kinds)
    assert found["captioned, one domain"][0] == pytest.approx(100 * expected[0, 1], abs=0.01)
    assert found["labelled, one domain"][0] == pytest.approx(100 * expected[3, 4], abs=0.01)
    two = np.mean([expected[3, 5], expected[4, 5], np.mean([expected[5, 3], expected[5, 4]])])
    assert found["labelled, two domains"][0] == pytest.approx(100 * two, abs=0.01)


def test_the_share_of_the_gain() -> None:
    values = {"zero-shot": [10.0, 20.0], classification.TUNED: [30.0, 30.0], "sg-lora": [20.0, 30.0]}
    rows = [{"task": i, "variant": name, "score": v} for name, own in values.items() for i, v in enumerate(own)]
    whole, low, high = classification.reached(rows, "sg-lora")
    assert (whole, low, high) == (pytest.approx(66.7, abs=0.05), 50.0, 100.0)


def test_accuracy_is_counted_by_hand(tmp_path: Path) -> None:
    backbone = tiny_backbone(adapt_blocks=1)
    texts = ["a photo of a cat", "a photo of a dog", "a photo of the sea"]
    photos = torch.nn.functional.normalize(noise(12, backbone.dim), dim=1)
    corpus = SimpleNamespace(
        backbone=backbone,
        captioned=np.zeros(12, dtype=bool),
        own_texts=[np.array([2 - i % 3]) for i in range(12)],
        texts=backbone.text_prefix(texts),
        indexed=lambda rows, adapter: photos[rows],
    )
    task = HeldTask("t", "t", "food", np.arange(12), np.arange(12))
    named = (photos @ backbone.encode_text(texts).T).argmax(1)
    expected = 100 * np.mean([int(named[i]) == 2 - i % 3 for i in range(12)])
    assert classification.score(cast(Corpus, corpus), task, None)["score"] == pytest.approx(expected, abs=0.001)


def test_neighbours_are_those_that_loops_find() -> None:
    points, categories = noise(60, 5) + (torch.arange(60) % 3)[:, None], torch.arange(60) % 3
    found = latent.neighbours_alike(points, categories, torch.arange(60))
    shares = []
    for i, point in enumerate(points):
        near = sorted((j for j in range(60) if j != i), key=lambda j, point=point: float((points[j] - point).norm()))
        shares.append(np.mean([j % 3 == i % 3 for j in near[: latent.NEIGHBOURS]]))
    assert found == pytest.approx(100 * np.mean(shares), abs=0.06)


def test_structure_of_points_with_known_distances() -> None:
    """Categories 100 apart, sentences 2 apart, seeds 0.1 apart."""
    points = torch.zeros(4, 4, 6)
    points[2:, :, 0] = 100
    points[1::2, :, 1] = 2
    points += 0.1 * torch.arange(4)[None, :, None] * torch.eye(6)[2]
    found = latent.structure(points, torch.tensor([0, 0, 1, 1]))
    assert (found["seeds"], found["sentences"]) == (pytest.approx(0.1, rel=1e-3), pytest.approx(2.0))
    assert found["categories"] == pytest.approx((100 + np.hypot(100, 2)) / 2)
    assert latent.dimensions(torch.cat([torch.eye(5), -torch.eye(5)])) == 5.0
