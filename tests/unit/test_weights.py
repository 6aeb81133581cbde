"""Weights by hand: how they are written, and what is rejected; a routing with them, and the path between two routings."""

import math

import numpy as np
import pytest
import torch
from test_router import EXPERTS, SENTENCE, unit

from core.common.errors import DescriptionError
from core.sglora.request import MAX_WEIGHTS, AdapterRequest, read_weights, written_weights
from core.sglora.router import SparseRouter

ROUTED = SparseRouter(EXPERTS).route("a dog", SENTENCE, 3, 0.2)
OTHER = SparseRouter(EXPERTS).route("the sea", unit(12, seed=9), 4, 0.1)


def test_lines_are_read_as_they_are_written() -> None:
    weights = {"aerial: road": 0.7, "a=b": 1e-4, "satellite pictures of the ground": 3.0}
    assert read_weights(written_weights(weights)) == weights
    assert read_weights(["", " dog = .5 ", "dog=2", "\t"]) == {"dog": 2}


@pytest.mark.parametrize("line", ["dog", "dog=", "dog=many", "=", "dog=0,5"])
def test_a_line_without_a_number_is_rejected(line: str) -> None:
    with pytest.raises(DescriptionError, match="is no weight of an expert: give its name, = and a number"):
        read_weights([line])


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"dog": -0.1, "cat": 1}, "“dog=-0.1” is no weight"),
        ({"dog": math.nan}, "“dog=nan” is no weight"),
        ({"dog": math.inf}, "“dog=inf” is no weight"),
        ({"dog": 0, "cat": 0.0}, "0 experts have a weight above 0: give 1 to 16 experts"),
        ({str(i): 1 for i in range(MAX_WEIGHTS + 1)}, "17 experts have a weight above 0"),
    ],
)
def test_unusable_weights_are_rejected(weights: dict[str, float], reason: str) -> None:
    with pytest.raises(DescriptionError, match=reason):
        AdapterRequest("a dog", weights=weights)


@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e300])
def test_given_weights_replace_those_of_the_routing(scale: float) -> None:
    given = {5: 0.2 * scale, 0: 0.6 * scale, 3: 0.0}
    found = ROUTED.weighted(given)
    closest = sorted((0, 5), key=lambda i: -float(EXPERTS[i] @ SENTENCE))
    assert found.chosen.tolist() == closest and found.by_hand and not ROUTED.by_hand
    np.testing.assert_allclose(found.weights.numpy(), [{0: 0.75, 5: 0.25}[i] for i in closest], rtol=1e-6)
    assert torch.equal(found.similarity, ROUTED.similarity) and found.description == ROUTED.description
    assert found.closeness == pytest.approx(float((0.75 * EXPERTS[0] + 0.25 * EXPERTS[5]) @ SENTENCE), abs=1e-6)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_the_path_between_two_sentences(t: float) -> None:
    alpha = np.zeros((2, len(EXPERTS)))
    for row, routing in zip(alpha, (ROUTED, OTHER), strict=True):
        row[routing.chosen.numpy()] = routing.weights.numpy()
    mixed = (1 - t) * alpha[0] + t * alpha[1]
    found = ROUTED.between(OTHER, t)
    assert found == {i: pytest.approx(mixed[i], abs=1e-6) for i in mixed.nonzero()[0].tolist()}
    assert sum(found.values()) == pytest.approx(1, abs=1e-6)
