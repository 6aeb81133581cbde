"""The paper's open questions: each experiment's own computation, compared with brute force and closed forms."""

from __future__ import annotations

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
from tiny_models import noise, tiny_backbone

from core.backbones.lora import Lora
from core.backbones.lora_algebra import cosines
from core.experiments import classification, composition, latent, routing, runner
from core.experiments.context import ExperimentContext
from core.experiments.held_tasks import HeldTask
from core.sglora.engine import SGLora
from core.training.corpus import Corpus


@pytest.fixture(scope="module")
def engine() -> SGLora:
    return random_engine(tiny_backbone(adapt_blocks=1))


def context_of(folder: Path, **parts: Any) -> ExperimentContext:
    """A context with these parts, whose pieces go into a folder."""
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
