"""The confidence: its line against scikit-learn's, its probability against SciPy's, and where no expert fits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from core.confidence import ConfidenceModel, known_transfers
from core.errors import RepositoryError
from core.experts import ExpertRepository
from core.router import Routing
from core.sglora import SGLora
from core.training.confidence import ABOUT_NOTHING, LeaveOut, fit_confidence, photos_to_judge
from core.training.tasks import Task


def routed(similarity: list[float], weights: list[float]) -> Routing:
    return Routing("x", torch.zeros(1), torch.tensor(similarity), torch.arange(len(weights)), torch.tensor(weights), 0.1)


def left_out(n: int, slopes: tuple[float, float], noise: float) -> list[LeaveOut]:
    """Made-up experts on a circle of neighbours, whose gains lie about a plane of closeness and of their neighbours' gain."""
    rng = np.random.default_rng(0)
    closeness = rng.uniform(0.2, 0.8, n)
    gains = slopes[0] * closeness
    for _ in range(60):  # the neighbours' gains are part of the plane: until they agree
        gains = slopes[0] * closeness + slopes[1] * np.roll(gains, -1)
    gains = gains + noise * rng.standard_normal(n)
    found = []
    for i in range(n):
        others = torch.tensor([j for j in range(n) if j != i])
        chosen = torch.tensor([others.tolist().index((i + 1) % n)])
        similarity = torch.full((n - 1,), float(closeness[i]))
        found.append(LeaveOut(others, Routing("x", torch.zeros(1), similarity, chosen, torch.ones(1), 0.1), float(gains[i])))
    return found


def test_the_line_is_least_squares() -> None:
    from sklearn.linear_model import LinearRegression

    found = left_out(40, (10.0, 0.3), 0.5)
    model = fit_confidence(found, [0.05, 0.1])
    gains = np.array([f.gain for f in found])
    x = np.array([[float(f.routing.similarity[0]), gains[f.others[f.routing.chosen[0]]]] for f in found])
    expected = LinearRegression().fit(x, gains)
    assert expected.coef_.min() > 0, "the made-up case should not touch the bounds"
    np.testing.assert_allclose([model.closeness, model.transfer], expected.coef_, rtol=1e-4)
    assert model.bias == pytest.approx(expected.intercept_, rel=1e-3, abs=1e-3)
    residuals = gains - expected.predict(x)
    assert model.spread == pytest.approx(np.sqrt((residuals**2).sum() / (40 - 3)), rel=1e-3)
    assert model.lowest == pytest.approx(x[:, 0].min()), "nothing was tried below"
    far = fit_confidence(found, [0.95, 0.99])
    assert far.lowest == pytest.approx(np.percentile([0.95, 0.99], 95))


def test_slopes_are_never_negative() -> None:
    model = fit_confidence(left_out(30, (-10.0, 0.0), 0.1), [])
    assert model.closeness == pytest.approx(0, abs=1e-6) and model.transfer >= 0


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
