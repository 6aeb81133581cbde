"""Controls compared with weight changes made by hand, folds without held-out photos, and summaries of made-up rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from random_engines import random_engine
from tiny_models import random_lora, tiny_backbone

from core.backbones.lora import Lora, LoraLayout
from core.data.jsonl import Translation
from core.experiments import controls, statistics
from core.experiments.held_tasks import scene_rows
from core.experiments.languages import NATIVE, translated
from core.experts import recall_summary
from core.sglora.engine import Adaptation, SGLora
from core.sglora.repository import Expert
from core.sglora.request import AdapterRequest


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


def rows(values: dict[str, list[float]], group: str = "scenes") -> list[dict[str, object]]:
    return [
        {"group": group, "task": f"t{i}", "variant": method, "seed": 0, "R@1": v, "R@5": v + 1, "R@10": v + 2}
        for method, own in values.items()
        for i, v in enumerate(own)
    ]


def test_summary_averages_seeds_first_and_pairs_by_task() -> None:
    made = rows({"zero-shot": [1.0, 2.0, 3.0], "sg-lora": [2.0, 4.0, 3.0]})
    made += [{**r, "seed": 1, "R@1": r["R@1"] + 2} for r in made if r["variant"] == "sg-lora"]  # type: ignore[operator]
    found = statistics.summary(made, "sg-lora")
    assert set(found) == {"scenes"} and found["scenes"]["tasks"] == 3
    methods = found["scenes"]["methods"]
    assert methods["sg-lora"]["mean"]["R@1"] == 4.0 and methods["sg-lora"]["ours minus it"] is None
    assert methods["zero-shot"]["ours minus it"]["R@1"][0] == pytest.approx(2.0)
    table = statistics.summary_table(found)
    assert "| **sg-lora** | 4.0 / 4.0 / 5.0 |" in table and "scenes (3 tasks)" in table


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
    assert "4 of 5 experts (80 %)" in recall_summary.findings(found)[0]
    assert "| e1 | photo 1 | 9 | 20.0 → 23.0 | 30.0 → 35.0 | 9 photos |" in recall_summary.table(found)
