"""The confidence: its line against scikit-learn's, its probability against SciPy's, and where no expert fits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from core.common.errors import RepositoryError
from core.sglora.confidence import ConfidenceModel, known_transfers
from core.sglora.engine import SGLora
from core.sglora.repository import ExpertRepository
from core.sglora.router import Routing
from core.training.confidence import ABOUT_NOTHING, LeaveOut, fit_confidence, group_transfers, photos_to_judge
from core.training.tasks import Task


def routed(similarity: list[float], weights: list[float]) -> Routing:
    return Routing("x", torch.zeros(1), torch.tensor(similarity), torch.arange(len(weights)), torch.tensor(weights), 0.1)


def left_out(n: int, slopes: tuple[float, float], noise: float) -> list[LeaveOut]:
    """Made-up experts whose gains lie about a plane of closeness and transfer."""
    rng = np.random.default_rng(0)
    closeness, transfer = rng.uniform(0.2, 0.8, n), rng.uniform(-5, 5, n)
    gains = 1 + slopes[0] * closeness + slopes[1] * transfer + noise * rng.standard_normal(n)
    photos = rng.integers(5, 250, n)
    return [LeaveOut(*map(float, f), int(p)) for *f, p in zip(closeness, transfer, gains, photos, strict=True)]


def test_the_line_is_least_squares_weighted_by_photos() -> None:
    from sklearn.linear_model import LinearRegression

    found = left_out(40, (10.0, 0.3), 0.5)
    model = fit_confidence(found, [0.05, 0.1])
    x = np.array([[f.closeness, f.transfer] for f in found])
    gains, photos = np.array([f.gain for f in found]), np.array([f.photos for f in found])
    expected = LinearRegression().fit(x, gains, sample_weight=photos)
    assert expected.coef_.min() > 0, "the made-up case should not touch the bounds"
    np.testing.assert_allclose([model.closeness, model.transfer], expected.coef_, rtol=1e-4)
    assert model.bias == pytest.approx(expected.intercept_, rel=1e-3, abs=1e-3)
    variance = np.average((gains - expected.predict(x)) ** 2, weights=photos)
    assert model.spread == pytest.approx(np.sqrt(variance * 40 / 37), rel=1e-3)
    assert model.lowest == pytest.approx(x[:, 0].min()), "nothing was tried below"
    far = fit_confidence(found, [0.95, 0.99])
    assert far.lowest == pytest.approx(np.percentile([0.95, 0.99], 95))


def test_slopes_are_never_negative() -> None:
    model = fit_confidence(left_out(30, (-10.0, 0.5), 0.1), [])
    assert model.closeness == pytest.approx(0, abs=1e-6) and model.transfer >= 0


def test_a_group_says_what_leaving_out_its_experts_gained() -> None:
    groups, gains = ["scenes", "food", "scenes", "sketch"], [(2.0, 30), (-1.0, 100), (6.0, 10), (4.0, 60)]
    assert group_transfers(groups, gains).tolist() == [3.0, -1.0, 3.0, 4.0]
    # Without the first: the other scene speaks for both; without the only sketch, everybody does.
    assert group_transfers(groups, gains, without=0).tolist() == [6.0, -1.0, 6.0, 4.0]
    assert group_transfers(groups, gains, without=3)[3].item() == pytest.approx((60 - 100 + 60) / 140)


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


def test_photos_that_train_no_other_expert() -> None:
    rows = {"train": np.arange(400), "stop": np.arange(400, 420), "test": np.arange(420, 440)}
    scene, label = (Task("t", "t", "g", "s", **rows, classes=c) for c in ((), ("a",)))
    assert photos_to_judge(scene).tolist() == list(range(400, 420))
    some = photos_to_judge(label, 100)
    assert len(set(some.tolist())) == 100 and some.max() < 420 and {400, 419} <= set(photos_to_judge(label, 420).tolist())


def test_a_repository_keeps_its_confidence_on_disk(engine: SGLora, tmp_path: Path) -> None:
    from dataclasses import replace

    model = ConfidenceModel(0.5, 3.0, 0.25, 2.0, 0.1, 60)
    whole = replace(engine.repository, confidence=model)
    whole.save(tmp_path)
    layout, fingerprint = engine.backbone.layout, engine.backbone.fingerprint
    assert ExpertRepository.load(tmp_path, layout, fingerprint).confidence == model
    index = json.loads((tmp_path / "index.json").read_text())
    for bad in ({**index["confidence"], "spread": 0}, {"bias": 1}, [1], {**index["confidence"], "bias": float("nan")}):
        (tmp_path / "index.json").write_text(json.dumps({**index, "confidence": bad}))
        with pytest.raises(RepositoryError, match="damaged index"):
            ExpertRepository.load(tmp_path, layout, fingerprint)


def test_sentences_about_nothing_are_no_controls() -> None:
    from core.experiments.generation import RANDOM

    assert not set(RANDOM) & set(ABOUT_NOTHING) and len(set(ABOUT_NOTHING)) == len(ABOUT_NOTHING)
