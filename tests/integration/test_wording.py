"""The written texts as data, the worth of a level against numpy's fit, and a run on made-up tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_folds import RECIPE, made_up_study

from core.common.errors import DataError
from core.common.metrics import measure
from core.experiments import figures, statistics, wording
from core.experiments.folds import prepare_fold
from core.experiments.generation import RANDOM as CONTROLS
from core.experiments.phrasings import LEVELS, PHRASINGS, RANDOM, VAGUE, Phrasing
from core.sglora.router import Routing
from core.training.confidence import ABOUT_NOTHING
from core.training.tasks import DOMAINS, EVERYDAY, SCENES

pytestmark = pytest.mark.slow

MADE_UP = {
    f"{name}{n}": Phrasing((f"{n}", f"thing {n}", f"a thing like {n}", f"{n} in a box", f"all of {n}"), (f"no {n}", f"not {n}"))
    for name, numbers in (("scene", range(8)), ("field", range(8, 15)))
    for n in numbers
}


def test_levels_are_as_long_as_they_say() -> None:
    for name, phrasing in PHRASINGS.items():
        words = [len(text.split()) for text in phrasing.levels]
        assert words[0] == 1 and 2 <= words[1] <= 4 < words[2] <= 8 <= words[3] <= 18 < 20 <= words[4], (name, words)
        assert len({*phrasing.levels, *phrasing.others}) == 7, name


def test_texts_are_new_ones() -> None:
    """No text is one that experts are described with, or that the generator or the confidence was trained on."""
    known = {description for description, _ in SCENES.values()} | {d.phrase for d in DOMAINS.values()} | set(ABOUT_NOTHING)
    for phrasing in PHRASINGS.values():
        assert not known & {*phrasing.levels[1:], *phrasing.others}
    assert not known & {*VAGUE, *RANDOM}
    assert set(CONTROLS) <= set(RANDOM)  # what the main experiment controls with
    domains = {name.rpartition("-")[0] or name for name in PHRASINGS if name not in SCENES}
    assert domains == set(DOMAINS) and EVERYDAY not in PHRASINGS


def test_wrong_descriptions_are_of_no_neighbour(tmp_path: Path) -> None:
    tasks = made_up_study(tmp_path).pool.tasks
    scene, special = (next(t for t in tasks if (t.group == "scenes") is same) for same in (True, False))
    named = [
        replace(scene, name="soccer", description="a photo of people playing soccer"),
        replace(scene, name="football", description="a photo of an American football game"),  # a neighbour of soccer
        replace(scene, name="bird", description="a photo of a bird"),
        replace(special, name="sports-1", group="sports", description="sports"),  # a neighbour of soccer
        replace(special, name="food-1", group="food", description="food"),
        replace(special, name="food-2", group="food", description="more food"),
    ]
    phrasings = {t.name: PHRASINGS[t.name] for t in named}
    soccer, food = (wording.texts(named, i, phrasings) for i in (0, 4))
    assert soccer[wording.WRONG_NEAR] == ["a photo of a bird"]
    assert soccer[wording.WRONG_FAR] == ["food", "more food"]
    assert food[wording.WRONG_NEAR] == ["sports"]
    assert food[wording.WRONG_FAR] == ["a photo of people playing soccer", "a photo of an American football game"]
    assert soccer[LEVELS[0]] == ["soccer"] and soccer[wording.OTHERS] == list(PHRASINGS["soccer"].others)
    assert wording.texts(named, 0, {}) == {}


def test_overlap_is_what_two_routings_share() -> None:
    def routing(chosen: list[int], weights: list[float]) -> Routing:
        return Routing("", torch.zeros(1), torch.zeros(9), torch.tensor(chosen), torch.tensor(weights), 0.1)

    one = routing([3, 1, 4], [0.5, 0.3, 0.2])
    assert wording.overlap(one, one) == pytest.approx(1.0)
    assert wording.overlap(one, routing([5, 6], [0.5, 0.5])) == 0
    assert wording.overlap(one, routing([1, 3], [0.9, 0.1])) == pytest.approx(0.4)


def test_a_level_is_worth_the_slope_of_a_line() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 50, (6, len(LEVELS)))
    rows = [
        {"task": f"t{t}", "variant": level, "R@1": values[t, i] + shift}
        for t in range(6)
        for i, level in enumerate(LEVELS)
        for shift in (-1.0, 1.0)  # two texts or seeds of one task are averaged
    ]
    slopes = np.polyfit(np.arange(len(LEVELS)), values.T, 1)[0]
    mean, low, high = wording.per_level(rows)
    assert mean == pytest.approx(slopes.mean(), abs=0.01)
    assert low < mean < high


def test_a_run_measures_what_a_visitor_would_get(tmp_path: Path) -> None:
    study = made_up_study(tmp_path)
    result = wording.run(study, [0], RECIPE, MADE_UP)
    prepared = prepare_fold(study, 0, RECIPE)
    engine = prepared.engine(study)
    said = {task.name: wording.texts(prepared.held, n, MADE_UP) for n, task in enumerate(prepared.held)}
    rows = wording.run_fold(study, prepared, 0, said)
    for task in prepared.held:
        maps, texts, relevance = study.pool.evaluation(task.test)
        for row in (r for r in rows if r["task"] == task.name and r["variant"] != wording.ZERO):
            strength = 1.0 if row["method"] == wording.FULL else None
            adaptation = engine.adapt(row["text"], seed=row["seed"], strength=strength)
            found = statistics.both_ways(measure(study.backbone.suffix(maps, adaptation.lora), texts, relevance))
            assert {m: row[m] for m in statistics.MEASURES} == found
            assert row["strength"] == pytest.approx(adaptation.strength, abs=1e-3)
        own = [r for r in rows if r["task"] == task.name and r["variant"] == wording.OWN]
        assert {r["text"] for r in own} == {task.description} and {r["overlap"] for r in own} == {1.0}
    kinds = result["all"]["kinds"]
    assert list(kinds) == list(wording.KINDS)
    assert kinds[wording.OWN][wording.FULL]["minus own"] == [0.0, 0.0, 0.0]
    some = kinds[LEVELS[4]][wording.SURE]
    before = {r["task"]: r["R@5"] for r in rows if r["variant"] == wording.ZERO}
    after = [r for r in rows if r["variant"] == LEVELS[4] and r["method"] == wording.SURE]
    by_hand = np.mean([np.mean([r["R@5"] for r in after if r["task"] == t]) - before[t] for t in before])
    assert some["gain R@5"][0] == pytest.approx(by_hand, abs=0.01)
    assert len(wording.findings(result)) == 2 * len(statistics.GROUPS)
    assert "| 5 detailed |" in wording.table(result)
    assert figures.svg(wording.plot, result).startswith("<svg")

    (file,) = study.folder("wording").glob("*.json")
    kept = file.read_text()
    file.write_text(kept.replace(wording.NOTHING, "unknown"))
    assert wording.NOTHING not in wording.run(study, [0], RECIPE, MADE_UP)["all"]["kinds"]  # read, not measured again

    with pytest.raises(DataError, match=r"phrasings\.py"):
        wording.run(study, [0], RECIPE, {})
