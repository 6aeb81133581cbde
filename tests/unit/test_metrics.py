"""The metrics, compared with hand-written loops and scipy."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from core.common.metrics import KS, Relevance, bootstrap_interval, recall


def recall_by_hand(similarity, captions, texts, k, way):
    """Recall@k with plain loops. A query is a hit if fewer than k wrong answers score at least as high as its best right
    answer."""
    queries, answers = (range(len(captions)), range(len(texts))) if way == "i2t" else (range(len(texts)), range(len(captions)))
    hits, counted = 0, 0
    for q in queries:
        right, wrong = [], []
        for a in answers:
            image, text = (q, a) if way == "i2t" else (a, q)
            (right if texts[text] in captions[image] else wrong).append(float(similarity[image][text]))
        if right:
            counted += 1
            hits += sum(score >= max(right) for score in wrong) < k
    return 100 * hits / counted if counted else 0.0


def random_case(seed):
    """Photos with up to four captions from a small pool, so that photos share captions. Scores are coarse, so that many are
    equal."""
    rng = np.random.default_rng(seed)
    pool = [f"caption {i}" for i in range(12)]
    captions = [tuple(rng.choice(pool, rng.integers(0, 5))) for _ in range(14)]
    relevance = Relevance.of(captions)
    similarity = rng.integers(0, 6, relevance.matrix.shape) / 5
    return captions, relevance, similarity


@pytest.mark.parametrize("seed", range(20))
def test_recall_is_what_loops_find(seed):
    captions, relevance, similarity = random_case(seed)
    i2t, t2i = recall(similarity, relevance.matrix), recall(similarity.T, relevance.matrix.T)
    for k in KS:
        assert i2t[f"R@{k}"] == pytest.approx(recall_by_hand(similarity, captions, relevance.texts, k, "i2t"))
        assert t2i[f"R@{k}"] == pytest.approx(recall_by_hand(similarity, captions, relevance.texts, k, "t2i"))


def test_equal_captions_are_one_text_and_any_caption_counts():
    relevance = Relevance.of([("a dog", "a dog", "a hound"), ("a dog",), (), ("a cat",)])
    assert relevance.texts == ("a dog", "a hound", "a cat")
    assert relevance.matrix.tolist() == [[True, True, False], [True, False, False], [False] * 3, [False, False, True]]


def test_bootstrap_interval_is_close_to_scipys():
    values = np.random.default_rng(0).normal(3.0, 2.0, 40)
    mean, low, high = bootstrap_interval(values)
    reference = bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=1).confidence_interval
    assert mean == pytest.approx(values.mean())
    assert low == pytest.approx(reference.low, abs=0.06)
    assert high == pytest.approx(reference.high, abs=0.06)
    assert bootstrap_interval(values) == (mean, low, high), "the same seed gives the same interval"
