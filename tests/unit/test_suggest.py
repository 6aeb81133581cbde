"""The sentence suggested for photos: the regression compared with least squares, and when there is none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from random_engines import random_engine
from tiny_models import noise, tiny_backbone
from torch import Tensor

from core.data.sample_photos import sample_photos
from core.experts.files import load_repository, save_repository
from core.retrieval.gallery import Gallery
from core.retrieval.suggest import (
    LEAST_ALIKE,
    LEAST_CLOSENESS,
    LEAST_CLOSER,
    MOST_EVERYDAY,
    ORDINARY_CLOSER,
    RIDGE,
    Look,
    fit_sentences,
)
from core.sglora.engine import SGLora
from core.sglora.repository import Expert
from core.sglora.router import Routing


def test_the_regression_is_least_squares_with_a_penalty() -> None:
    photos, sentences = noise(200, 6, seed=1) * torch.arange(1.0, 7) + 2, noise(200, 4, seed=2)
    x, y = (t.double().numpy() - t.double().numpy().mean(0) for t in (photos, sentences))
    penalty = np.sqrt(RIDGE * x.var(0).mean() * len(x)) * np.eye(6)
    wanted = np.linalg.lstsq(np.concatenate([x, penalty]), np.concatenate([y, np.zeros((6, 4))]), rcond=None)[0]
    fitted = fit_sentences(photos, sentences)
    assert fitted.weights.numpy() == pytest.approx(wanted, abs=1e-5)
    assert fitted.mean.numpy() == pytest.approx(photos.mean(0).numpy(), abs=1e-5)


def looks(closeness: Tensor) -> Look:
    """A look at photos with these cosines [n, 5] to experts of KINDS."""
    return Look([Expert(f"e{i}", "", kind, "none", 1, 0, 1, {}, {}) for i, kind in enumerate(KINDS)], closeness)


def test_the_closest_special_topic_is_suggested_if_the_photos_are_not_everyday_ones() -> None:
    closeness = torch.full((100, 5), 0.1)
    closeness[:60, 3], closeness[60:, 4] = 0.6, 0.5  # aerial photos, and food
    found = looks(closeness).suggested
    assert found is not None and found.name == "e3"
    scenes = round(100 * MOST_EVERYDAY)
    for more, suggests in ((0, True), (1, False)):
        mixed = closeness.clone()
        mixed[: scenes + more, 0] = 0.7
        look = looks(mixed)
        assert (look.suggested is not None) is suggests is not look.everyday
    closeness[:, 1] = 0.6 * 0.6 + 0.1 * 0.4 + ORDINARY_CLOSER + 0.01  # an ordinary object that is much closer on average
    assert looks(closeness).everyday and looks(closeness).suggested is None


def test_photos_that_no_expert_knows_have_no_suggestion() -> None:
    for cosine in (0.2, -0.2, float("nan")):
        assert looks(torch.full((9, 5), cosine)).suggested is None
    assert looks(torch.empty(0, 5)).suggested is None


@pytest.mark.parametrize(("mean", "suggests"), [(LEAST_CLOSENESS + 0.005, True), (LEAST_CLOSENESS - 0.14, False)])
def test_the_number_of_photos_does_not_decide(mean: float, suggests: bool) -> None:
    """Photos of one kind, as spread as real ones: 50, 100, 200 and 256 of them agree, in any order."""
    generator = torch.Generator().manual_seed(1)
    photos = torch.zeros(500, 5)
    photos[:, 3] = mean + 0.15 * torch.randn(500, generator=generator)
    for _ in range(10):
        shuffled = photos[torch.randperm(500, generator=generator)]
        assert {looks(shuffled[:n]).suggested is not None for n in (50, 100, 200, 256)} == {suggests}


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


def test_a_repository_keeps_its_regression(tmp_path: Path) -> None:
    backbone = tiny_backbone(adapt_blocks=2)
    fitted = fit_sentences(noise(50, 4, seed=2), noise(50, backbone.sentence_dim, seed=3))
    saved = replace(random_engine(backbone).repository, photo_sentences=fitted)
    save_repository(saved, tmp_path)
    read = load_repository(tmp_path, backbone.layout, backbone.fingerprint)
    photos = noise(20, 4, seed=5)
    assert saved.photo_sentences is not None and read.photo_sentences is not None
    for kept, written in zip(read.photo_sentences, saved.photo_sentences, strict=True):
        torch.testing.assert_close(kept, written, rtol=0, atol=1e-2)
    sentences = (photos - saved.photo_sentences.mean).numpy() @ saved.photo_sentences.weights.numpy()
    sentences /= np.linalg.norm(sentences, axis=1, keepdims=True)
    look = Look.of(read, photos)
    assert look is not None
    assert look.closeness.numpy() == pytest.approx(sentences @ saved.embeddings.numpy().T, abs=2e-2)
    nothing = Look.of(saved, photos[:0])
    assert nothing is not None and nothing.suggested is None

    save_repository(replace(saved, photo_sentences=None), tmp_path)
    read = load_repository(tmp_path, backbone.layout, backbone.fingerprint)
    assert read.photo_sentences is None and Look.of(read, photos) is None


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("aerial", "aerial photos"), ("clothes", "product photos of clothes"), ("seedlings", "photos of seedlings")],
)
def test_the_shipped_samples_get_a_sentence_of_their_kind(engine: SGLora, name: str, suggestion: str) -> None:
    gallery = Gallery(engine.backbone)
    gallery.add([sample.path for sample in sample_photos(name)])
    look = Look.of(engine.repository, gallery.contents.embeddings(most=256))
    assert look is not None and look.suggested is not None and look.suggested.description.startswith(suggestion)


@pytest.mark.parametrize(
    ("subject", "suggestion", "other"),
    [
        ("photos of bedrooms", "photos of rooms", "satellite pictures"),
        ("photos of wild animals and big cats", "", "chest X-rays"),
    ],
)
def test_the_shipped_experts_recognise_rooms_and_animals(engine: SGLora, subject: str, suggestion: str, other: str) -> None:
    gallery = Gallery(engine.backbone)
    gallery.add([sample.path for sample in sample_photos() if sample.subject == subject])
    look = Look.of(engine.repository, gallery.contents.embeddings(most=256))
    assert look is not None and look.differs(engine.route(other)) and not look.differs(engine.route(suggestion or subject))
    assert look.suggested.description.startswith(suggestion) if look.suggested else look.everyday and not suggestion
