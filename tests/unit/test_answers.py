"""The answers of experiments: each verdict follows from the numbers of the shipped result, computed here again."""

import json
import random
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from app.page.views import evidence
from core.common.paths import results_path
from core.experiments.registry import EXPERIMENTS
from core.experiments.report import report, text, verdict

# What decides: (group, ours, other), or a function of the result that returns one difference per unit that is resampled.
COMPARED = {
    "unseen": ("special domains", "sg-lora", "merge"),
    "known": ("special domains", "sg-lora", "random-sentence"),
    "descriptions": ("special domains", "8 words", "40 words"),
    "composition": ("special domains", "all experts", "0 of its kind"),
    "classification": ("class names", "fine-tuned", "sg-lora, left out"),
    "domains": ("special domains", "and ten of its domain", "everyday experts"),
    "languages": ("known scenes", "English", "French"),
}


def by(rows: list[dict], key: str, measure: str, **where: object) -> dict[str, float]:
    values = defaultdict(list)
    for row in rows:
        if where.items() <= row.items():
            values[row[key]].append(row[measure])
    return {name: mean(own) for name, own in values.items()}


def routed(result: dict) -> list[float]:
    return [100 * (row["first"] - row["chance"]) for row in result["rows"] if row["kind"] != "no expert"]


def taught(result: dict) -> list[float]:
    where = {"names": "nonsense", "wording": "a photo of a {}"}
    after, before = (by(result["names"], "domain", "right", photos=n, **where) for n in (3, 0))
    return [after[domain] - before[domain] for domain in after]


def forgot(result: dict) -> list[float]:
    return [*by(result["rows"], "task", "class names", variant="sg-lora").values()]


def gained(result: dict) -> list[float]:
    return [row["R@1"][1] - row["R@1"][0] for row in result["experts"]]


def learned(result: dict) -> list[float]:
    after, before = (
        by(result["rows"], "domain", "first", group="all keywords at once", variant=v) for v in ("names, 10", "no sentence")
    )
    return [after[domain] - before[domain] for domain in after]


UNITS = {"routing": routed, "teach": taught, "learn": learned, "forgetting": forgot, "verification": gained}
NO_QUESTION_OF_YES_OR_NO = {"latent"}


def shipped(name: str) -> dict[str, Any]:
    return json.loads(results_path(name).read_text(encoding="utf-8"))


def word(low: float, high: float) -> str:
    return "Yes" if low > 0 else "No" if high < 0 else "Not significant"


def drawn(values: list[float]) -> tuple[float, float]:
    """A 95 % bootstrap interval of the mean, in plain Python."""
    draw = random.Random(1)
    means = sorted(mean(draw.choices(values, k=len(values))) for _ in range(1000))
    return means[25], means[974]


def test_each_experiment_is_checked_here() -> None:
    assert {*COMPARED, *UNITS, *NO_QUESTION_OF_YES_OR_NO} == set(EXPERIMENTS)


@pytest.mark.parametrize(("name", "compared"), COMPARED.items(), ids=COMPARED)
def test_answers_of_comparisons_follow_from_their_intervals(name: str, compared: tuple[str, str, str]) -> None:
    result, (group, ours, other) = shipped(name), compared
    told, methods = result["report"], result["groups"][group]["methods"]
    measure = next(iter(methods[ours]["mean"]))
    interval = methods[other]["ours minus it"][measure]
    assert methods[ours]["ours minus it"] is None and told["interval"] == interval
    assert told["verdict"] == word(*interval[1:])
    assert f" {methods[ours]['mean'][measure]:.1f}, " in told["findings"][0] and told["findings"][0].endswith(f"({group}).")
    if rows := [row for row in result.get("rows", ()) if row["group"] == group]:  # the interval itself, from its tasks
        a, b = (by(rows, "task", measure, variant=variant) for variant in (ours, other))
        assert word(*drawn([a[task] - b[task] for task in a])) == told["verdict"]


@pytest.mark.parametrize(("name", "units"), UNITS.items(), ids=UNITS)
def test_other_answers_follow_from_their_rows(name: str, units: Any) -> None:
    result = shipped(name)
    values, told = units(result), result["report"]
    assert told["interval"][0] == pytest.approx(mean(values), abs=0.02)
    assert told["verdict"] == word(*told["interval"][1:]) == word(*drawn(values))


def test_an_interval_around_zero_is_not_significant() -> None:
    assert [verdict(i) for i in ([0.4, -0.1, 0.9], [0.4, 0.1, 0.9], [-0.4, -0.9, -0.1])] == ["Not significant", "Yes", "No"]
    assert verdict([0.5, 0.0, 1.0]) == verdict([2.0, 2.0, 2.0]) == "Not significant"  # one task alone has no interval
    assert verdict(None) == "Figures"


def test_a_made_up_result_answers(tmp_path: Path) -> None:
    """The terminal and the page begin with the answer, and the paper's line has the new figures."""
    names = ["merge", "random-sentence", "one-lora", "zero-shot"]
    gaps = {
        "merge": [0.5, -1.0, 2.0],
        "random-sentence": [3.0, 1.0, 5.0],
        "one-lora": [-3.0, -5.0, -1.0],
        "zero-shot": [9.0, 8.0, 10.0],
    }
    methods: dict[str, Any] = {"sg-lora": {"mean": {"R@1": 40.0}, "ours minus it": None}}
    methods |= {name: {"mean": {"R@1": 40.0 - gaps[name][0]}, "ours minus it": {"R@1": gaps[name]}} for name in names}
    result = {"groups": {"scenes": {"tasks": 9, "methods": methods}}}
    told = report(EXPERIMENTS["unseen"], result)
    expected = (
        "SG-LoRA finds 40.0, the merge of the same experts 39.5, a random sentence 37.0, one LoRA 43.0, zero-shot 31.0: "
        "not significant against the merge, yes against a random sentence and zero-shot, no against one LoRA (scenes)."
    )
    assert (told["verdict"], told["findings"]) == ("Not significant", [expected])
    assert told["paper"].startswith("The paper found ") and told["paper"].endswith(
        "we found, in points, +0.5 [-1.0, +2.0] (scenes)."
    )
    assert f"- **Not significant.** {expected}" in text(EXPERIMENTS["unseen"], result)
    (tmp_path / "unseen.json").write_text(json.dumps({"report": told}), encoding="utf-8")
    shown = evidence.page(evidence.exhibits(tmp_path))
    assert "Not significant</b> SG-LoRA finds 40.0" in shown and "+0.5 [-1.0, +2.0] points" in shown
