"""How often proposals are right, against made-up photos whose names are known."""

from statistics import NormalDist

import numpy as np
import pytest

from core.retrieval.gaps import QUANTILES, SLACK, Heights, rights

NAMED, OTHER = NormalDist(3, 1), NormalDist(0, 1)  # heights of photos that show a name, and of others


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("right", [1.0, 0.7])
def test_the_share_is_that_of_two_normal_distributions(share: float, right: float) -> None:
    rng, n = np.random.default_rng(3), 20_000
    left_out, shows = rng.normal(NAMED.mean, 1, 3_000), rng.random(n) < share
    heights = -np.sort(-rng.normal(np.where(shows, NAMED.mean, OTHER.mean), 1))
    name, top = np.repeat([0, 1], [3_000, 50]), np.r_[left_out, np.full(50, -9.0)]
    own = np.abs(top)  # no photo shows the second name, whose own photos are high
    found = rights(np.zeros(n, int), heights, Heights(name, own, top, rng.random(len(own)) < right))
    assert (np.diff(found) <= 0).all()

    def above(level: float) -> float:
        return share * (1 - NAMED.cdf(level)) + (1 - share) * (1 - OTHER.cdf(level))

    bounds = [above(NAMED.inv_cdf(q) - SLACK * NAMED.mean) / (1 - q) for q in QUANTILES if q]
    shown = min(1, *bounds)
    assert share <= shown <= share + 0.07
    for level in (-1.0, 0.5, 1.5, 2.5, 3.5):
        place = int((heights >= level).sum()) - 1
        if place > 200:  # of few photos, the share is uncertain
            expected = right * min(1, shown * (1 - NAMED.cdf(level)) / above(level))
            assert found[place] == pytest.approx(expected, abs=0.04)


def test_photos_that_show_no_name_are_not_surer_than_left_out_photos_suggest() -> None:
    """All left-out photos are right. What is lower than all of them was called as sure as these, once."""
    heights = np.linspace(1, -1, 1_000)
    own = np.linspace(3, 2, 20)
    assert rights(np.zeros(1_000, int), heights, Heights(np.zeros(20, int), own, own, np.ones(20, bool))).max() == 0
