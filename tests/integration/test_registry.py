"""Experiments: the registry and result files."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_line import Run

from app.page.views import page_html
from core.common.paths import results_path
from core.experiments import figures
from core.experiments.registry import EXPERIMENTS, Experiment
from core.experiments.report import report

TEXT = "{http://www.w3.org/2000/svg}text"


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=lambda experiment: experiment.name)
def test_shipped_reports_match_their_numbers(experiment: Experiment) -> None:
    """The report in a result file must equal the report that the current code writes for its numbers."""
    assert callable(experiment.module.run) and experiment.question.endswith("?")
    result = json.loads(results_path(experiment.name).read_text())
    assert result.pop("report") == report(experiment, result)


@pytest.mark.slow
def test_one_prints_its_findings(run: Run, tmp_path: Path) -> None:
    code, text, _ = run("experiment", "verification", "--out", tmp_path)
    assert code == 0 and f"## {EXPERIMENTS['verification'].question}" in text
    assert json.loads((tmp_path / "verification.json").read_text())["report"]["findings"][0] in text


def test_the_help_says_what_one_more_expert_brings(run: Run) -> None:
    """Means over the steps of the shipped result, as on the page."""
    steps = json.loads(results_path("composition").read_text())["groups"]["special domains"]["one more"]
    first, *further = (step["each"][0] for step in steps.values())
    assert page_html.one_more() == (round(first), round(sum(further) / 3))
    code, text, _ = run("train", "experts", "--help")
    assert code == 0 and f"about {first:.0f} points of R@1, each further one about {sum(further) / 3:.0f}." in text


@pytest.mark.parametrize("name", figures.PLOTS)
def test_figures_take_the_pages_colours_and_keep_their_words(name: str) -> None:
    """Those of the shipped results, drawn again."""
    result = json.loads(results_path(name).read_text())
    drawn, shipped = figures.svg(name, result), results_path(name).with_suffix(".svg").read_text()
    words, expected = ({e.text for e in ElementTree.fromstring(svg).iter(TEXT)} for svg in (drawn, shipped))
    assert EXPERIMENTS[name].plot and words == expected and drawn == figures.svg(name, result)
    assert figures.INK not in drawn and figures.QUIET not in drawn and "currentColor" in drawn
