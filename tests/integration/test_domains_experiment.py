"""What experts of a domain add to everyday ones: on a tiny model and made-up photos."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from made_up_photos import captioned, draw
from repositories import make_model

from core.backbones import load_backbone
from core.experiments import domains, runner
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
def context(tmp_path_factory: pytest.TempPathFactory) -> ExperimentContext:
    """Captioned everyday photos, and four labelled dishes."""
    root = tmp_path_factory.mktemp("domains")
    captioned(root / "data" / "everyday")
    (root / "data" / "labelled" / "images").mkdir(parents=True)
    lines = []
    for i in range(80):
        draw(root / "data" / "labelled" / "images" / f"{i}.png", i % 3, i % 4, i)
        lines.append(json.dumps({"image": f"images/{i}.png", "set": "dishes", "domain": "food", "label": DISHES[i % 4]}))
    (root / "data" / "labelled" / "labels.jsonl").write_text("\n".join(lines))
    model = load_backbone(f"local-dir:{make_model(root / 'model', 7)}", adapt_blocks=1)
    return ExperimentContext(root / "data", root / "cache", model, lambda line: None)


def test_ten_experts_join_everyday_ones(context: ExperimentContext) -> None:
    corpus = context.corpus
    alone = domains.everyday(corpus)
    assert alone.train.any() and not (alone.train & (corpus.domains == "food")).any()
    tasks = domains.tasks_of(corpus, "food", EXPERTS)
    assert len({task.name for task in tasks}) == len(tasks) == domains.TEN and tasks[0].classes == tuple(sorted(DISHES))
    assert all(corpus.train[task.rows].all() and (corpus.domains[task.rows] == "food").all() for task in tasks)

    result = json.loads(json.dumps(domains.run(context, RECIPE)))
    assert list(result["domains"]) == ["food"] and list(result["groups"]) == [runner.SPECIAL]
    assert set(result["groups"][runner.SPECIAL]["methods"]) == set(domains.VARIANTS) == set(result["domains"]["food"]["R@1"])
    assert domains.table(result).count("\n") > 8 and "ten experts of the domain add" in domains.findings(result)[0]

    # The merge of the joined experts is the mean of their snapshots, by the weights of the routing.
    start = trained(context, "everyday", domains.everyday, RECIPE)
    snapshots = read_snapshots(start.folder, [task.name for task in tasks]).float()
    engine = domains.joined(start.engine, tasks, snapshots)
    adaptation = engine.adapt(AdapterRequest("photos of food"))
    means = torch.cat([start.engine.repository.means, snapshots.mean(1)])
    chosen, weights = adaptation.routing.chosen, adaptation.routing.weights
    assert int(chosen[0]) >= len(start.engine.repository), "an expert of the domain is closest"
    merged = engine.repository.with_shared(engine.repository._lora(chosen[:0], weights[:0], weights @ means[chosen]))
    assert np.allclose(engine.repository.merged(chosen, weights).vector(), merged.vector(), atol=1e-6)
