"""Routing compared with numpy, its limits, and the cleaning of descriptions."""

import numpy as np
import pytest
import torch
from tiny_models import noise

from core.common.errors import DescriptionError
from core.common.text import MAX_DESCRIPTION, clean_text
from core.sglora.request import AdapterRequest
from core.sglora.router import SparseRouter


def unit(*shape: int, seed: int) -> torch.Tensor:
    return torch.nn.functional.normalize(noise(*shape, seed=seed), dim=-1)


EXPERTS, SENTENCE = unit(7, 12, seed=1), unit(12, seed=2)
ROUTER = SparseRouter(EXPERTS)


@pytest.mark.parametrize(("k", "tau"), [(1, 0.1), (3, 0.05), (4, 1.0), (7, 0.3)])
def test_against_numpy(k, tau):
    similarity = EXPERTS.numpy().astype(np.float64) @ SENTENCE.numpy().astype(np.float64)
    order = np.argsort(-similarity)[:k]
    weights = np.exp(similarity[order] / tau)
    routing = ROUTER.route("a dog", SENTENCE, k, tau)
    np.testing.assert_allclose(routing.similarity.numpy(), similarity, atol=1e-6)
    assert routing.chosen.tolist() == order.tolist()
    np.testing.assert_allclose(routing.weights.numpy(), weights / weights.sum(), rtol=1e-4)
    assert routing.weights.sum().item() == pytest.approx(1, abs=1e-6)
    assert (routing.description, routing.tau) == ("a dog", tau) and torch.equal(routing.embedding, SENTENCE)


def test_k_beyond_the_repository_means_all():
    assert torch.equal(ROUTER.route("x", SENTENCE, 100).chosen, ROUTER.route("x", SENTENCE, 7).chosen)


@pytest.mark.parametrize(
    ("tau", "weights"),
    [*((tau, (1, 0, 0, 0)) for tau in (1e-3, 1e-9, 1e-320)), (1e6, 4 * (0.25,)), (float("inf"), 4 * (0.25,))],
)
def test_the_smallest_and_largest_tau(tau, weights):
    found = ROUTER.route("x", SENTENCE, 4, tau).weights
    torch.testing.assert_close(found, torch.tensor(weights, dtype=torch.float32), atol=1e-5, rtol=0)


def test_small_tau_shares_between_equals():
    router = SparseRouter(EXPERTS[[0, 0, 1]])
    assert router.route("x", EXPERTS[0], 3, 1e-30).weights.tolist() == [0.5, 0.5, 0]


@pytest.mark.parametrize(
    ("k", "tau", "reason"), [(0, 0.1, "k is 0"), (-2, 0.1, "k is -2"), (1, 0.0, "tau is 0:"), (1, float("nan"), "tau is nan")]
)
def test_bad_numbers(k, tau, reason):
    with pytest.raises(DescriptionError, match=reason):
        AdapterRequest("x", k, tau)


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "!?…", "🐕", "\x00\x07", "\u200b\u200b"])
def test_texts_without_words_are_refused(text):
    with pytest.raises(DescriptionError, match=r"The query (is empty|has no letter or digit): say what the photos show"):
        clean_text(text, "query")


def test_texts_that_are_too_long_or_no_texts():
    assert clean_text("x" * MAX_DESCRIPTION) == "x" * MAX_DESCRIPTION
    with pytest.raises(DescriptionError, match="2,001 characters; 2,000 is the most"):
        clean_text("x" * (MAX_DESCRIPTION + 1))
    for wrong in (None, 3, ["a dog"]):
        with pytest.raises(DescriptionError, match="must be a text"):
            clean_text(wrong)


def test_cleaning_keeps_words_of_any_script():
    assert clean_text("  photos\n of\ta\x00dog\u2028 ") == "photos of a dog"
    assert clean_text("雪の中の犬 🐕") == "雪の中の犬 🐕"
    assert clean_text("7") == "7"
