"""The confidence: its line against scikit-learn's, its probability against SciPy's, and where no expert fits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from core.sglora.confidence import ConfidenceModel, known_transfers
from core.training.confidence import LeftOut, fit_confidence, others_of
from scipy.stats import norm

from core.backbones.lora import LoraLayout, LoraModule
from core.common.errors import RepositoryError
from core.experts.files import load_repository
from core.sglora.engine import SGLora
from core.sglora.repository import Expert, ExpertRepository
from core.sglora.router import Routing


def routed(similarity: list[float], weights: list[float]) -> Routing:
    return Routing("x", torch.zeros(1), torch.tensor(similarity), torch.arange(len(weights)), torch.tensor(weights), 0.1)


def left_out(n: int, slopes: tuple[float, float], noise: float) -> list[LeftOut]:
    """Made-up experts whose gains lie about a plane of closeness and transfer."""
    rng = np.random.default_rng(0)
    closeness, transfer = rng.uniform(0.2, 0.8, n), rng.uniform(-5, 5, n)
    gains = 1 + slopes[0] * closeness + slopes[1] * transfer + noise * rng.standard_normal(n)
    photos = rng.integers(5, 250, n)
    rows = zip(closeness, transfer, gains, photos, strict=True)
    return [LeftOut(f"t{i}", float(c), float(t), float(g), 2.0, int(p)) for i, (c, t, g, p) in enumerate(rows)]


def test_the_line_is_least_squares_weighted_by_photos() -> None:
    from sklearn.linear_model import LinearRegression

    found = left_out(40, (10.0, 0.3), 0.5)
    model = fit_confidence(found, shares=True)
    x = np.array([[f.closeness, f.transfer] for f in found])
    gains, photos = np.array([f.gain for f in found]), np.array([f.photos for f in found])
    expected = LinearRegression().fit(x, gains, sample_weight=photos)
    assert expected.coef_.min() > 0, "the made-up case should not touch the bounds"
    np.testing.assert_allclose([model.closeness, model.transfer], expected.coef_, rtol=1e-4)
    assert model.bias == pytest.approx(expected.intercept_, rel=1e-3, abs=1e-3)
    variance = np.average((gains - expected.predict(x)) ** 2, weights=photos)
    assert model.spread == pytest.approx(np.sqrt(variance * 40 / 37), rel=1e-3)
    assert model.lowest == pytest.approx(np.quantile(x[:, 0], 0.05)) and model.shared_gain == pytest.approx(2)
    assert model.rank_correlation > 0.9, "topics on a line are ranked, those left out of the fit too"
    assert fit_confidence(found, shares=False).shared_gain is None


def test_slopes_are_never_negative() -> None:
    model = fit_confidence(left_out(30, (-10.0, 0.5), 0.1), shares=False)
    assert model.closeness == pytest.approx(0, abs=1e-6) and model.transfer >= 0


def test_a_topic_leaves_out_its_domain_or_what_is_close() -> None:
    groups = ("scenes", "scenes", "scenes", "food", "food")
    experts = tuple(Expert(f"e{i}", f"e{i}", g, "none", 1, 0, 1, {}, {}) for i, g in enumerate(groups))
    embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.5, 0.75**0.5], [-1.0, 0.0]])
    layout = LoraLayout((LoraModule("q", 2, 2),), 1)
    parts = (torch.zeros(5, 4), torch.zeros(5, 4), embeddings, torch.zeros(4))
    repository = ExpertRepository("f" * 16, layout, experts, *parts)
    assert others_of(repository, 0).tolist() == [2, 3, 4], "the second is as good as the same topic"
    assert others_of(repository, 4).tolist() == [0, 1, 2], "all food is one domain"


def test_what_is_uncertain_is_mixed_with_what_all_share() -> None:
    model = ConfidenceModel(-2.0, 10.0, 0.0, 2.0, 0.2, 9, shared_gain=3.0, rank_correlation=0.3)
    transfers = torch.zeros(2)
    sure, unsure, far = (model.judge(routed([s, s], [0.5, 0.5]), transfers) for s in (0.9, 0.24, 0.1))
    assert (sure.own, sure.strength, sure.reliable) == (1.0, 1.0, False)
    assert 0 < unsure.own < 1 and unsure.strength == 1
    assert (far.own, far.strength, far.fits) == (0.0, 1.0, False)
    odd = model.judge(routed([0.9, 0.9], [0.5, 0.5]), transfers, about_photos=False)
    assert (odd.own, odd.fits, odd.probability) == (0.0, False, 0.0)
    harmful = model.judge(routed([0.9, 0.9], [0.5, 0.5]), transfers, torch.tensor([16.0, 16.0]))
    assert (harmful.own, harmful.strength) == (1.0, pytest.approx(7 / 16)), (
        "what costs more than it promises is not applied in full"
    )
    useless = replace(model, shared_gain=-1.0).judge(routed([0.1, 0.1], [0.5, 0.5]), transfers)
    assert useless.strength == 0, "where the shared part does not help, zero-shot does"


def test_probability_is_the_normal_one_and_strength_follows_it() -> None:
    model = ConfidenceModel(bias=-1.0, closeness=10.0, transfer=0.5, spread=2.0, lowest=0.2, points=9)
    transfers = torch.tensor([4.0, -2.0])
    strengths = []
    for similarity in ([0.2, 0.2], [0.25, 0.2], [0.3, 0.3], [0.9, 0.8]):
        found = model.judge(routed(similarity, [0.75, 0.25]), transfers)
        closeness = 0.75 * similarity[0] + 0.25 * similarity[1]
        gain = -1 + 10 * closeness + 0.5 * (0.75 * 4 - 0.25 * 2)
        assert found.fits and found.gain == pytest.approx(gain, abs=1e-5)
        assert found.probability == pytest.approx(norm.cdf(gain / 2), abs=1e-5)
        assert found.strength == pytest.approx(np.clip((found.probability - 0.5) / 0.2, 0, 1), abs=1e-5)
        strengths.append(found.strength)
    assert strengths == sorted(strengths) and strengths[-1] == 1.0
    far = model.judge(routed([0.19, 0.19], [0.75, 0.25]), transfers)
    assert (far.fits, far.probability, far.strength) == (False, 0.0, 0.0)


def test_an_expert_that_was_never_left_out_counts_as_an_average_one() -> None:
    assert known_transfers([1.0, None, 3.0]).tolist() == [1.0, 2.0, 3.0]
    assert known_transfers([None]).tolist() == [0.0]


def test_a_repository_keeps_its_confidence_on_disk(engine: SGLora, tmp_path: Path) -> None:
    model = ConfidenceModel(0.5, 3.0, 0.25, 2.0, 0.1, 60)
    whole = replace(engine.repository, confidence=model)
    whole.save(tmp_path)
    layout, fingerprint = engine.backbone.layout, engine.backbone.fingerprint
    assert load_repository(tmp_path, layout, fingerprint).confidence == model
    index = json.loads((tmp_path / "index.json").read_text())
    for bad in ({**index["confidence"], "spread": 0}, {"bias": 1}, [1], {**index["confidence"], "bias": float("nan")}):
        (tmp_path / "index.json").write_text(json.dumps({**index, "confidence": bad}))
        with pytest.raises(RepositoryError, match="damaged index"):
            load_repository(tmp_path, layout, fingerprint)
