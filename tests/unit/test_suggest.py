"""Experts suggested for photos: the regression compared with least squares, the choice with the best of all choices."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_models import frozen_layout, noise

from core.backbones.lora import LoraLayout, LoraModule
from core.data.sample_photos import sample_photos
from core.experts.files import load_repository, save_repository
from core.retrieval.gallery import Gallery
from core.retrieval.suggest import (
    FEWEST_SHARE,
    LEAST_ALIKE,
    LEAST_CLOSENESS,
    LEAST_CLOSER,
    MOST_SUGGESTED,
    RIDGE,
    Look,
    covering,
    fit_sentences,
    suggested,
)
from core.sglora.engine import SGLora
from core.sglora.repository import Expert, ExpertRepository
from core.sglora.router import Routing
from core.sglora.subspace import Basis

FINGERPRINT, LAYOUT = "0123456789abcdef", LoraLayout((LoraModule("text.q", 2, 2),), 1)


def test_the_regression_is_least_squares_with_a_penalty() -> None:
    photos, sentences = noise(200, 6, seed=1) * torch.arange(1.0, 7) + 2, noise(200, 4, seed=2)
    x, y = (t.double().numpy() - t.double().numpy().mean(0) for t in (photos, sentences))
    penalty = np.sqrt(RIDGE * x.var(0).mean() * len(x)) * np.eye(6)
    wanted = np.linalg.lstsq(np.concatenate([x, penalty]), np.concatenate([y, np.zeros((6, 4))]), rcond=None)[0]
    fitted = fit_sentences(photos, sentences)
    assert fitted.weights.numpy() == pytest.approx(wanted, abs=1e-5)
    assert fitted.mean.numpy() == pytest.approx(photos.mean(0).numpy(), abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_covers_nearly_as_much_as_the_best_one(seed: int) -> None:
    """A greedy choice reaches at least 1 - 1/e of the best coverage."""
    closeness = noise(40, 8, seed=seed).abs().clamp(max=1)
    chosen = covering(closeness)

    def covered(experts: tuple[int, ...]) -> float:
        return float(closeness[:, list(experts)].max(1).values.mean())

    assert len(set(chosen)) == len(chosen) == MOST_SUGGESTED
    assert covered(tuple(chosen)) >= (1 - 1 / np.e) * max(map(covered, combinations(range(8), MOST_SUGGESTED)))
    assert chosen[0] == int(closeness.mean(0).argmax())


def test_each_topic_of_mixed_photos_is_suggested_once() -> None:
    closeness = torch.full((30, 5), 0.1)
    closeness[:15, 0] = closeness[:15, 1] = 0.6  # two experts of one topic
    closeness[15:27, 2] = 0.5
    closeness[27:, 3] = 0.7
    assert covering(closeness) == [0, 2, 3]
    rare = round(30 * FEWEST_SHARE) - 1
    closeness[27 : 30 - rare, 3] = 0.1
    assert covering(closeness) == [0, 2], "too few photos are of the fourth topic"


def test_photos_that_no_expert_knows_have_no_suggestion() -> None:
    assert covering(torch.full((9, 4), 0.2)) == []
    assert covering(torch.full((9, 4), -0.2)) == []
    assert covering(torch.full((9, 4), float("nan"))) == []


@pytest.mark.parametrize(("mean", "suggests"), [(LEAST_CLOSENESS + 0.005, True), (LEAST_CLOSENESS - 0.14, False)])
def test_the_number_of_photos_does_not_decide(mean: float, suggests: bool) -> None:
    """Photos of one kind, as spread as real ones: 50, 100, 200 and 256 of them agree, in any order."""
    generator = torch.Generator().manual_seed(1)
    photos = mean + 0.15 * torch.randn(500, 1, generator=generator)
    for _ in range(10):
        shuffled = photos[torch.randperm(500, generator=generator)]
        assert {bool(covering(shuffled[:n])) for n in (50, 100, 200, 256)} == {suggests}


KINDS = ("scenes", "objects", "aerial", "aerial", "food")


@pytest.mark.parametrize("seed", range(40))
def test_photos_of_another_kind_than_the_routed_experts_differ(seed: int) -> None:
    """The rule, once more in numpy: the common weight of kinds, and how much closer the best expert is, paired by photo."""
    rng = np.random.default_rng(seed)
    experts = [Expert(f"e{i}", "", kind, "none", 1, 0, 1, {}, {}) for i, kind in enumerate(KINDS)]
    closeness = rng.normal(0.2, 0.1, (int(rng.integers(2, 40)), 5)) + rng.choice([0.0, 0.15, 0.3], 5)
    chosen, weights = rng.permutation(5)[:2], np.array([0.7, 0.3])
    kinds = np.array(["everyday", "everyday", "aerial", "aerial", "food"])
    shown = kinds[closeness.argmax(1)]
    alike = sum(min((shown == kind).mean(), weights[kinds[chosen] == kind].sum()) for kind in set(kinds))
    closer = closeness[:, closeness.mean(0).argmax()] - closeness[:, chosen] @ weights
    low = closer.mean() - 2 * closer.std(ddof=1) / np.sqrt(len(closer))
    routing = Routing("", torch.zeros(1), torch.zeros(5), torch.from_numpy(chosen), torch.from_numpy(weights), 0.1)
    assert Look(experts, torch.from_numpy(closeness)).differs(routing) is bool(alike < LEAST_ALIKE and low > LEAST_CLOSER)
    assert not Look(experts, torch.from_numpy(closeness[:1])).differs(routing), "one photo is too little"


def repository() -> ExpertRepository:
    experts = tuple(Expert(f"e{i}", f"photos of {i}", "scenes", "none", 1, 0, 1, {}, {}) for i in range(3))
    layout, keys = frozen_layout(LAYOUT), F.normalize(noise(3, 5, seed=1), dim=-1)
    basis = Basis.fit(noise(3, layout.size))
    numbers = (basis, torch.zeros(3, layout.size), torch.zeros(3, basis.dimensions), keys)
    fitted = fit_sentences(noise(50, 4, seed=2), noise(50, 5, seed=3))
    return ExpertRepository(FINGERPRINT, layout, experts, *numbers, photo_sentences=fitted)


def test_a_repository_keeps_its_regression(tmp_path: Path) -> None:
    saved = repository()
    save_repository(saved, tmp_path)
    read = load_repository(tmp_path, LAYOUT, FINGERPRINT)
    photos = noise(20, 4, seed=5)
    assert saved.photo_sentences is not None and read.photo_sentences is not None
    for kept, written in zip(read.photo_sentences, saved.photo_sentences, strict=True):
        torch.testing.assert_close(kept, written, rtol=0, atol=1e-2)
    sentences = (photos - saved.photo_sentences.mean).numpy() @ saved.photo_sentences.weights.numpy()
    sentences /= np.linalg.norm(sentences, axis=1, keepdims=True)
    wanted = [saved.experts[i] for i in covering(torch.from_numpy(sentences) @ saved.embeddings.T)]
    assert suggested(saved, photos) == wanted and suggested(saved, photos[:0]) == []

    save_repository(replace(saved, photo_sentences=None), tmp_path)
    read = load_repository(tmp_path, LAYOUT, FINGERPRINT)
    assert read.photo_sentences is None and suggested(read, photos) == []


@pytest.mark.parametrize(
    ("subject", "suggestion", "other"),
    [
        ("photos of bedrooms", "photos of rooms", "satellite pictures"),
        ("photos of wild animals and big cats", "photos of lions", "chest X-rays"),
    ],
)
def test_the_shipped_experts_recognise_rooms_and_animals(engine: SGLora, subject: str, suggestion: str, other: str) -> None:
    gallery = Gallery(engine.backbone)
    gallery.add([sample.path for sample in sample_photos() if sample.subject == subject])
    look = Look.of(engine.repository, gallery.contents.embeddings(most=256))
    assert look is not None and look.suggested[0].description.startswith(suggestion)
    assert not look.differs(engine.route(suggestion)) and look.differs(engine.route(other))
