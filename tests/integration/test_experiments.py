"""Controls compared with weight changes made by hand, folds without held-out photos, and summaries of made-up rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import random_lora, tiny_backbone
from torch import nn

from core.backbones.lora import Lora, LoraLayout, LoraModule
from core.data import Sample
from core.experiments import controls, statistics
from core.experiments.folds import FOLDS, split
from core.experiments.held_tasks import SCENES, scene_rows
from core.experts import recall_summary
from core.sglora.engine import Adaptation, SGLora
from core.sglora.fit import Fit
from core.sglora.generator import LoraGenerator
from core.sglora.repository import Expert, ExpertRepository
from core.sglora.request import AdapterRequest
from core.sglora.router import SparseRouter
from core.sglora.subspace import Basis
from core.sglora.vae import ConditionalVAE, VaeConfig
from core.training.class_names import ClassNames
from core.training.corpus import Corpus
from core.training.features import Features

LAYOUT = LoraLayout((LoraModule("vision.blocks.0.q", 6, 5), LoraModule("vision.blocks.0.v", 6, 5)), 2)
SHARED = random_lora(LoraLayout(LAYOUT.modules, 3), 5)


@pytest.fixture(scope="module")
def engine() -> SGLora:
    g = torch.Generator().manual_seed(0)
    n = 5
    means = torch.randn(n, LAYOUT.size, generator=g)
    embeddings = torch.nn.functional.normalize(torch.randn(n, 8, generator=g), dim=-1)
    recalls = {"i2t": {"R@1": 10.0, "R@5": 20.0}, "t2i": {"R@1": 30.0, "R@5": 40.0}, "images": 9}
    better = {"i2t": {"R@1": 12.0, "R@5": 20.0}, "t2i": {"R@1": 34.0, "R@5": 50.0}, "images": 9}
    experts = tuple(
        Expert(f"e{i}", f"photo {i}", "scenes" if i < 3 else "food", "made-up", 9, 0, 1, recalls, better if i else recalls)
        for i in range(n)
    )
    origin, notes = torch.zeros(LAYOUT.size), {"recipe": {"share": 0.5}}
    stds = torch.full_like(means, 0.1)
    repository = ExpertRepository("f" * 16, LAYOUT, experts, means, stds, embeddings, origin, notes, shared=SHARED)
    basis = Basis.fit(means, origin, 3)
    generator = LoraGenerator(basis, ConditionalVAE(VaeConfig(basis.dimensions)), "f" * 16, {})
    return SGLora(nn.Identity(), repository, generator)  # type: ignore[arg-type]  (no control uses the backbone)


@pytest.fixture(scope="module")
def adaptation(engine: SGLora) -> Adaptation:
    """The adaptation to a random sentence embedding."""
    repository, generator = engine.repository, engine.generator
    sentence = torch.nn.functional.normalize(torch.randn(8, generator=torch.Generator().manual_seed(1)), dim=-1)
    routing = SparseRouter(repository.embeddings).route("x", sentence, 3, 0.1)
    prior, fit = repository.prior(routing), Fit(routing.closeness, True, 0.0, None)
    sample = generator.sample(prior, 0)
    own = Lora.from_vector(repository.layout, sample.vector)
    full = repository.with_shared([own], [1.0])
    return Adaptation(AdapterRequest("x", 3), routing, fit, prior, sample.z, own, full, 1.0, full, 1.0, {})


def deltas(vector: torch.Tensor) -> dict[str, torch.Tensor]:
    """Weight changes for each linear, read by hand: the vector holds A, then B, linear by linear."""
    out, start = {}, 0
    for m in LAYOUT.modules:
        a = vector[start : start + 12].reshape(2, 6)
        b = vector[start + 12 : start + 22].reshape(5, 2)
        out[m.name] = torch.einsum("or,ri->oi", b, a)
        start += 22
    return out


def assert_delta(lora: Lora | None, own: dict[str, torch.Tensor], shared: float = 1.0) -> None:
    assert lora is not None
    for name, delta in own.items():
        expected = delta + shared * SHARED.factors[name].b @ SHARED.factors[name].a
        torch.testing.assert_close(lora.factors[name].delta, expected, rtol=1e-4, atol=1e-5)


def weighted(engine: SGLora, weights: dict[int, float]) -> dict[str, torch.Tensor]:
    parts = {i: deltas(engine.repository.means[i]) for i in weights}
    return {m.name: sum((w * parts[i][m.name] for i, w in weights.items()), torch.zeros(5, 6)) for m in LAYOUT.modules}


def test_merges_are_exact_sums_of_weight_changes(engine: SGLora, adaptation: Adaptation) -> None:
    chosen = adaptation.routing.chosen.tolist()
    soft = dict(zip(chosen, adaptation.routing.weights.tolist(), strict=True))
    assert controls.METHODS["zero-shot"](engine, adaptation) is None
    assert_delta(controls.METHODS["merge"](engine, adaptation), weighted(engine, soft))
    assert_delta(controls.METHODS["equal-merge"](engine, adaptation), weighted(engine, dict.fromkeys(chosen, 1 / 3)))
    assert_delta(controls.METHODS["mean-of-all"](engine, adaptation), weighted(engine, dict.fromkeys(range(5), 1 / 5)))
    assert_delta(controls.METHODS["nearest"](engine, adaptation), weighted(engine, {chosen[0]: 1.0}))
    assert_delta(controls.one_lora(engine, adaptation), weighted(engine, {0: 0.0}), shared=2.0)  # experts use half of it


def test_ridge_agrees_with_scikit_learn(engine: SGLora, adaptation: Adaptation) -> None:
    from sklearn.linear_model import Ridge

    x, y = engine.repository.embeddings.numpy(), engine.repository.means.numpy()
    expected = Ridge(alpha=controls.RIDGE).fit(x, y).predict(adaptation.routing.embedding.numpy()[None])[0]
    assert_delta(controls.ridge(engine, adaptation), deltas(torch.from_numpy(expected)))


def test_an_untrained_decoder_gives_the_prior_mean(engine: SGLora, adaptation: Adaptation) -> None:
    mean = adaptation.routing.weights @ engine.repository.means[adaptation.routing.chosen]
    assert_delta(controls.METHODS["sg-lora"](engine, adaptation), deltas(mean))


def small_corpus() -> Corpus:
    """Captioned photos of six subjects, some with two of them, and photos of four classes of food."""
    subjects = ("dog", "snow", "boat", "horse", "tennis", "piano")
    samples = []
    for i in range(600):
        own = subjects[i % 6] if i % 30 else "dog in the snow"
        texts = (f"a {own} number {i}", f"the {own} again {i}")
        samples.append(Sample(Path(f"{i}.jpg"), texts, "val" if i % 5 == 0 else "train"))
    samples += [Sample(Path(f"f{i}.jpg"), (), "", f"dish {i % 4}", "food", "x") for i in range(80)]
    n = len(samples)
    test = np.array([s.split == "val" for s in samples])
    empty = torch.empty(0)
    prefixes = Features([(np.zeros((n, 1, 1), dtype=np.float16), np.arange(n))])
    none = tuple(np.array([0]) for _ in samples)
    roles = ~test, np.zeros(n, bool), test
    names = ClassNames(empty, empty)
    return Corpus(tiny_backbone(), tuple(samples), prefixes, empty, empty, ("x",), none, np.arange(n), empty, names, *roles)


def test_folds_hold_every_task_out_once_and_train_on_none_of_its_photos() -> None:
    corpus, dealt = small_corpus(), []
    for fold in range(FOLDS):
        held, seen = split(corpus, fold)
        dealt += [t.name for t in held]
        hidden = np.concatenate([t.rows for t in held])
        assert not seen.train[hidden].any() and not seen.validation[hidden].any()
        assert seen.train.sum() == corpus.train.sum() - corpus.train[np.unique(hidden)].sum()
        for task in held:
            assert task.group != "scenes" or corpus.test[task.test].all()
    assert sorted(dealt) == sorted({"dog", "snow", "boat", "horse", "tennis", "food"}), "piano is not in the list of scenes"


def test_a_photo_belongs_to_a_scene_that_two_captions_name() -> None:
    found = scene_rows({3: ("a dog runs", "my puppy"), 5: ("a dog", "a cat"), 7: ("snow and a dog", "dogs in snow")})
    assert found["dog"].tolist() == [3, 7] and found["snow"].tolist() == [7]
    assert len({scene["description"] for scene in SCENES.values()}) == len(SCENES)


def rows(values: dict[str, list[float]], group: str = "scenes") -> list[dict[str, object]]:
    return [
        {"group": group, "task": f"t{i}", "variant": method, "seed": 0, "R@1": v, "R@5": v + 1, "R@10": v + 2}
        for method, own in values.items()
        for i, v in enumerate(own)
    ]


def test_summary_averages_seeds_first_and_pairs_by_task() -> None:
    made = rows({"zero-shot": [1.0, 2.0, 3.0], "sg-lora": [2.0, 4.0, 3.0]})
    made += [{**r, "seed": 1, "R@1": r["R@1"] + 2} for r in made if r["variant"] == "sg-lora"]  # type: ignore[operator]
    found = statistics.summary(made, ("scenes", "none"), "sg-lora")
    assert set(found) == {"scenes"} and found["scenes"]["tasks"] == 3
    methods = found["scenes"]["methods"]
    assert methods["sg-lora"]["mean"]["R@1"] == 4.0 and methods["sg-lora"]["ours minus it"] is None
    assert methods["zero-shot"]["ours minus it"]["R@1"][0] == pytest.approx(2.0)
    table = statistics.summary_table(found, "sg-lora")
    assert "| **sg-lora** | 4.0 / 4.0 / 5.0 |" in table and "scenes (3 tasks)" in table


def test_verification_counts_and_averages(engine: SGLora) -> None:
    found = recall_summary.verify(engine.repository)
    assert (found["trained"], found["won"]) == (5, 4)
    assert found["all"]["experts"] == 5
    assert found["special domains"]["gain"]["R@5"][0] == 5.0
    assert "4 of 5 experts (80 %)" in recall_summary.findings(found)[0]
    assert "| e1 | photo 1 | 9 | 20.0 → 23.0 | 30.0 → 35.0 | 9 photos |" in recall_summary.table(found)
