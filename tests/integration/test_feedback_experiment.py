"""The experiment about marks: its share compared with a count by hand, and a run on a small data folder."""

from __future__ import annotations

import json

import pytest
import torch
from test_teach_experiment import context  # noqa: F401 (a fixture)

from core.experiments import feedback
from core.experiments.context import ExperimentContext


def test_precision_is_counted_by_hand() -> None:
    scores, right = torch.tensor([0.9, 0.1, 0.8, 0.7]), torch.tensor([True, True, False, True])
    assert feedback.precision(scores, right) == pytest.approx(2 / 3)


@pytest.mark.slow
def test_the_whole_experiment(context: ExperimentContext, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(feedback, "SAID", 1)
    monkeypatch.setattr(feedback, "FEWEST", 10)
    monkeypatch.setattr(feedback, "WORDS", (r"1\d", "nothing"))
    result = json.loads(json.dumps(feedback.run(context)))
    rows = result["searches"]
    assert (rows[0]["round"], rows[0]["photos"], rows[0]["rest"], rows[0]["lost"]) == (0, 10, 10, 0)
    assert rows[0]["plain"] == rows[0]["learned"], "without marks, both rankings must be equal"
    assert [row["rest"] for row in rows] == sorted((row["rest"] for row in rows), reverse=True)
    assert rows[1]["rest"] < 10, "later rounds must not search for marked photos"
    assert "question alone" in feedback.table(result | {"searches": [{**rows[0], "round": n} for n in feedback.ROUNDS]})
