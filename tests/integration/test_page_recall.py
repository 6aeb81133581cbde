"""Recall with intervals, as the page shows it under a comparison; compared with scipy and plain recall."""

import re

import numpy as np
import pytest
import torch
from recalls import headline
from scipy.stats import bootstrap

from app.answers.comparison import Comparison, Counted
from app.answers.question import Question
from app.languages import texts
from app.page.views import results_html
from core.common.messages import message
from core.common.metrics import Hits, Relevance, hits, recall_interval
from core.retrieval.adapter import ZERO_SHOT
from core.retrieval.gallery import Photo


def test_captions_belong_to_their_photo() -> None:
    relevance = Relevance.of([[f"{i} {j}" for j in range(3)] for i in range(12)])
    found = hits(torch.eye(36)[::3], torch.eye(36), relevance)
    assert found["t2i"].photos.tolist() == [i for i in range(12) for _ in range(3)]


def test_the_interval_is_scipys_over_photos() -> None:
    rng = np.random.default_rng(1)
    places = np.where(rng.random((80, 5)) < rng.random((80, 1)), 0, 9)  # captions of the same photo get similar ranks
    found = Hits(places.ravel(), np.repeat(np.arange(80), 5), 80)
    mean, low, high = recall_interval(found, 1)
    reference = bootstrap(((places == 0).mean(1),), np.mean, method="percentile", rng=2).confidence_interval
    assert mean == pytest.approx(100 * (places == 0).mean())
    assert (low, high) == pytest.approx((100 * reference.low, 100 * reference.high), abs=1.0)


def test_the_difference_is_paired() -> None:
    before = Hits(np.array([0] * 30 + [3] * 10), np.arange(40), 40)
    after = Hits(np.array([0] * 36 + [3] * 4), np.arange(40), 40)
    mean, low, high = recall_interval(after, 1, before)
    assert mean == pytest.approx(15.0)
    assert low > 0  # all moved photos moved up; unpaired intervals would overlap
    assert recall_interval(before, 1)[2] > recall_interval(after, 1)[1]
    assert recall_interval(after, 1, after) == (0.0, 0.0, 0.0)
    assert high < 40


def test_the_recall_table_names_its_base_and_its_uncertainty() -> None:
    n = 60
    zero = Hits(np.array([0] * 20 + [4] * 40), np.arange(n), n)
    better = Hits(np.array([0] * 50 + [4] * 10), np.arange(n), n)
    counted = tuple(
        Counted(title, "", ZERO_SHOT, {"i2t": found, "t2i": found})
        for title, found in (("ZERO_SHOT", zero), ("MERGE", zero), ("SG_LORA", better))
    )
    photos = tuple(Photo(str(i), f"{i}.jpg", b"", (f"caption {i}",)) for i in range(n))
    page = results_html.recalls(
        Comparison(message("Photos for “{query}”", query="q"), (), Question.words("q"), photos=photos, counted=counted)
    )
    # Every photo is among the first ten, with and without the adapter.
    assert headline(texts.FIRST_TEN.format(total=n), ZERO_SHOT=n, SG_LORA=n) in re.sub("</?b>", "", page)
    assert f"{n} captioned photos and {n} captions" in page
    assert "<td><b>33%</b>" in page
    assert page.count('class="sg-up"') == 2  # R@1 in both directions; R@5 stays the same, and R@10 is 100 %
    assert page.count('class="sg-same"') == 10
    assert texts.RECALL_CAUTION not in page
