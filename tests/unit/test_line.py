"""The line below a name's photos: against every line by brute force, and a simulated visitor."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from core.retrieval.line import MOST_ASKED, bisect


def drawn(shows: Callable[[int], bool], total: int) -> tuple[int, dict[int, bool]]:
    """The line after MOST_ASKED answers, and the answers by place."""
    answers = dict[int, bool]()
    for _ in range(MOST_ASKED):
        place = bisect([*answers.items()], total, set(range(total)) - set(answers))[1]
        if place is None:
            break
        assert place not in answers and 0 <= place < total
        answers[place] = shows(place)
    return bisect([*answers.items()], total, ())[0], answers


@pytest.mark.parametrize("total", [1, 2, 5, 12, 48, 300])
def test_a_ranking_without_errors_is_cut_where_its_right_photos_end(total: int) -> None:
    """Answers halve the range of log(line + 1), so ten of them leave a 1024th of it, or one line."""
    for right in range(total + 1):
        line, answers = drawn(lambda place, right=right: place < right, total)
        assert len(answers) <= MOST_ASKED
        low = max((place + 1 for place, yes in answers.items() if yes), default=0)
        high = min((place for place, yes in answers.items() if not yes), default=total)
        assert low <= right <= high and low <= line <= high
        assert high - low <= 1 or math.log((high + 1) / (low + 1)) <= 2 * math.log(total + 1) / 2**MOST_ASKED
        assert high == low or total == 300  # exactly, in a small set


def test_in_many_photos_the_line_is_right_by_a_hundredth() -> None:
    for right in (0, 1, 7, 60, 500, 4_000, 19_000, 20_000):
        line, _ = drawn(lambda place, right=right: place < right, 20_000)
        assert abs(line - right) <= 0.015 * right


def test_the_line_is_where_fewest_answers_are_wrong() -> None:
    """All answers to some photos of five, against all lines."""
    for shown in product((True, False, None), repeat=5):
        answers = [(place, yes) for place, yes in enumerate(shown) if yes is not None]
        wrong = [sum((place < line) != yes for place, yes in answers) for line in range(6)]
        line, place = bisect(answers, 5, [i for i, yes in enumerate(shown) if yes is None])
        assert wrong[line] == min(wrong)
        assert (place is None) == (None not in shown) and (place is None or shown[place] is None)


def test_a_noisy_ranking_is_cut_nearly_as_well_as_by_the_best_line() -> None:
    """Right photos score higher by three standard deviations. F1 of the best line, and of that of the answers."""
    best, found = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        right = np.arange(1_000) < rng.integers(5, 100)
        shown = right[np.argsort(-(rng.normal(size=1_000) + 3 * right))]
        lines = np.arange(1_001)
        f1 = 2 * np.concatenate([[0], shown.cumsum()]) / (lines + shown.sum())
        line, answers = drawn(lambda place, shown=shown: bool(shown[place]), 1_000)
        assert len(answers) == MOST_ASKED
        best.append(f1.max())
        found.append(f1[line])
    assert np.mean(found) > 0.9 * np.mean(best)
