"""Experiments that train: folds, and experts of a domain that join everyday ones. On a tiny model and made-up photos."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_photos import COLOURS, draw
from repositories import make_model

from core.backbones import load_backbone
from core.experiments import domains, folds, runner, unseen
from core.experiments.context import ExperimentContext
from core.experiments.folds import FoldRecipe, trained
from core.sglora.request import AdapterRequest
from core.training.generator import GeneratorRecipe
from core.training.recipe import ExpertRecipe
from core.training.shared_lora import BothHeadsRecipe
from core.training.snapshots import read_snapshots

pytestmark = pytest.mark.slow

EXPERTS = ExpertRecipe(rank=2, steps=2, batch=8, snapshots=2, shared_rank=2, shared_steps=2, keyword=20, fine=40, least=20)
RECIPE = FoldRecipe(EXPERTS, GeneratorRecipe(steps=2), BothHeadsRecipe())
DISHES = ("soup", "rice", "cake", "fish")


@pytest.fixture(scope="module")
def made(root: Path) -> ExperimentContext:
    """The tests share the cache of features. Each training has a name of its own there."""
    backbone = load_backbone(f"local-dir:{root / 'model'}", adapt_blocks=1)
    return ExperimentContext(root / "data", root / "cache", backbone, lambda _: None)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, captioned everyday photos of five categories, and four labelled dishes."""
    root = tmp_path_factory.mktemp("root")
    make_model(root / "model", 7)
    for folder in ("everyday", "labelled"):
        (root / "data" / folder / "images").mkdir(parents=True)
    captions, labels = [], []
    for i in range(5 * 70):
        draw(root / "data" / "everyday" / "images" / f"{i}.png", i % 3, i % 5, i)
        texts = [f"a {COLOURS[i % 5]} thing number {i // 7}", f"something {COLOURS[i % 5]}"]
        about = {"image": f"images/{i}.png", "split": "test" if i >= 300 else "train", "captions": texts}
        captions.append(json.dumps(about | {"categories": [f"{COLOURS[i % 5]} thing"]}))
    for i in range(80):
        draw(root / "data" / "labelled" / "images" / f"{i}.png", i % 3, i % 4, i)
        labels.append(json.dumps({"image": f"images/{i}.png", "set": "dishes", "domain": "food", "label": DISHES[i % 4]}))
    (root / "data" / "everyday" / "captions.jsonl").write_text("\n".join(captions))
    (root / "data" / "labelled" / "labels.jsonl").write_text("\n".join(labels))
    return root


def test_folds_hold_every_task_out_once_and_train_on_none_of_its_photos(made: ExperimentContext) -> None:
    corpus, dealt = made.corpus, []
    for fold in range(folds.FOLDS):
        held, seen = folds.split(corpus, fold)
        dealt += [task.name for task in held]
        hidden = np.unique(np.concatenate([task.rows for task in held]))
        assert not seen.train[hidden].any() and not seen.validation[hidden].any()
        assert seen.train.sum() == corpus.train.sum() - corpus.train[hidden].sum()
        for task in held:
            assert task.group != "scenes" or corpus.test[task.test].all()
    assert sorted(dealt) == sorted([*(f"{colour} thing" for colour in COLOURS), "food"])


def test_every_fold_is_trained_and_measured_once(made: ExperimentContext, monkeypatch: pytest.MonkeyPatch) -> None:
    result = unseen.run(made, RECIPE, seeds=(0,))
    rows = result["rows"]
    assert sorted({row["fold"] for row in rows}) == [0, 1, 2, 3, 4]
    assert set(result["groups"]) == {runner.SPECIAL, runner.SCENES}
    assert len({row["task"] for row in rows}) == len({(row["fold"], row["task"]) for row in rows}), "a task is in one fold"
    monkeypatch.setattr(folds, "discover", None)  # a second run measures the trainings that were kept
    again = unseen.run(made, RECIPE, seeds=(0,))["rows"]
    assert np.mean([row["R@5"] for row in again]) == pytest.approx(np.mean([row["R@5"] for row in rows]), abs=1)


def test_ten_experts_join_everyday_ones(made: ExperimentContext) -> None:
    corpus, alone = made.corpus, domains.everyday(made.corpus)
    assert alone.train.any() and not (alone.train & (corpus.domains == "food")).any()
    tasks = domains.tasks_of(corpus, "food", EXPERTS)
    assert len({task.name for task in tasks}) == len(tasks) == domains.TEN and tasks[0].classes == tuple(sorted(DISHES))
    assert all(corpus.train[task.rows].all() and (corpus.domains[task.rows] == "food").all() for task in tasks)

    result = json.loads(json.dumps(domains.run(made, RECIPE)))
    assert list(result["domains"]) == ["food"] and list(result["groups"]) == [runner.SPECIAL]
    assert set(result["groups"][runner.SPECIAL]["methods"]) == set(domains.VARIANTS) == set(result["domains"]["food"]["R@1"])

    # The merge of the joined experts is the mean of their snapshots, by the weights of the routing.
    start = trained(made, "everyday", domains.everyday, RECIPE)
    snapshots = read_snapshots(start.folder, [task.name for task in tasks]).float()
    engine = domains.joined(start.engine, tasks, snapshots)
    routing = engine.adapt(AdapterRequest("photos of food")).routing
    means, chosen, weights = torch.cat([start.engine.repository.means, snapshots.mean(1)]), routing.chosen, routing.weights
    assert int(chosen[0]) >= len(start.engine.repository), "an expert of the domain is closest"
    merged = engine.repository.with_shared(engine.repository._lora(chosen[:0], weights[:0], weights @ means[chosen]))
    assert np.allclose(engine.repository.merged(chosen, weights).vector(), merged.vector(), atol=1e-6)
