"""A visitor's own experts on the page: who sees them, what ends a training, and what the page shows."""

import shlex
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app.actions import answering, own_experts
from app.answers.commands import adapt_command, evaluate_command, search_command
from app.answers.question import Asked, Question
from app.languages import texts
from app.page.views import evidence, experts_html
from app.visitors.tab import Tab
from app.visitors.visitor import Visitor
from core.backbones.peft_format import CONFIG_FILE, WEIGHTS_FILE, save_peft
from core.cli.parser import build_parser
from core.common.errors import AdapterError, GalleryError, RepositoryError
from core.common.paths import results_path
from core.experiments import report
from core.experiments.registry import EXPERIMENTS
from core.experts import recall_summary
from core.experts.adapter_files import routed_experts
from core.experts.own import MAX_OWN, OwnEntry
from core.sglora.engine import Adaptation, SGLora
from core.sglora.repository import Expert
from core.sglora.request import AdapterRequest

SENTENCE = "photos of glass marbles"


def add_own(engine: SGLora, visitor: Visitor, name: str) -> None:
    embedding, repository = engine.backbone.encode_sentence([SENTENCE])[0], engine.repository
    expert = Expert(name, SENTENCE, "own", "own photos", 20, 0, 1, {}, {})
    entry = OwnEntry(expert, repository.means[0], repository.variances[0], embedding)
    visitor.change_own_experts(engine, lambda experts: experts.add(entry))


@pytest.fixture
def tab() -> Tab:
    return Tab(Visitor())


def test_an_imported_adapter_is_routed_to_by_its_visitor_alone(engine: SGLora, tab: Tab, tmp_path: Path) -> None:
    lora = engine.adapt(AdapterRequest(SENTENCE)).lora
    save_peft(lora, tmp_path, engine.backbone.fingerprint, engine.backbone.name, {})
    files = [str(tmp_path / CONFIG_FILE), str(tmp_path / WEIGHTS_FILE)]
    entry = own_experts.import_files(engine, tab, files, SENTENCE)
    mine = tab.visitor.engine(engine)
    routed = routed_experts(mine, mine.route(SENTENCE))
    assert routed[0]["name"] == entry.name
    assert routed[0]["similarity"] == pytest.approx(1.0, abs=1e-4)
    assert Visitor().engine(engine) is engine
    tab.visitor.change_own_experts(engine, lambda experts: experts.remove(entry.name))
    assert tab.visitor.engine(engine) is engine
    for wrong in ([], ["a.zip", "b.zip"], ["a.json", "b.json"], ["a.txt"]):
        with pytest.raises(AdapterError, match="one ZIP, or the two files"):
            own_experts.import_files(engine, tab, [str(tmp_path / name) for name in wrong], SENTENCE)


def test_an_adapter_is_generated_again_when_the_experts_change(engine: SGLora, tab: Tab) -> None:
    wanted = AdapterRequest(SENTENCE, seed=3, strength=1.0)

    def adapted(wanted: AdapterRequest) -> Adaptation:
        answering.answer(tab.visitor.engine(engine), tab, Asked(request=wanted))
        return tab.adaptation

    before = adapted(wanted)
    assert adapted(replace(wanted)) is before
    add_own(engine, tab.visitor, "marbles")
    after = adapted(wanted)
    assert after is not before
    assert after.routing.chosen[0] == len(engine.repository) and adapted(wanted) is after
    # The LoRA contains the whole own expert, not only the part that the shipped generator can write.
    expected = tab.visitor.own_experts(engine).engine(engine).adapt(wanted)
    torch.testing.assert_close(after.full.vector(), expected.full.vector())


def test_training_needs_captions_and_a_free_name_before_it_begins(engine: SGLora, tab: Tab) -> None:
    def train(name: str) -> None:
        own_experts.train(engine, tab, name, SENTENCE, lambda *now: None, threading.Event())

    with pytest.raises(GalleryError, match="at least 20"):
        train("mine")
    with pytest.raises(RepositoryError, match="already"):
        train(engine.repository.experts[0].name.upper())
    for i in range(MAX_OWN):
        add_own(engine, tab.visitor, f"own {i}")
    with pytest.raises(RepositoryError, match="remove one"):
        train("one more")


def test_an_expert_without_figures_says_so(engine: SGLora, tab: Tab) -> None:
    add_own(engine, tab.visitor, "marbles")
    (entry,) = tab.visitor.own_experts(engine).entries
    assert texts.NOBODY_MEASURED in experts_html.details(entry.expert)
    assert experts_html.table([entry.expert])["data"][0][5:] == [None] * 4


# Evidence


def test_evidence_copes_with_any_subset(engine: SGLora, tmp_path: Path) -> None:
    n = sum(e.measured for e in engine.repository.experts)
    result = recall_summary.verify(engine.repository)
    report.write(EXPERIMENTS["verification"], result, tmp_path)
    (tmp_path / "unseen.json").write_text("{")
    (tmp_path / "teach.json").write_text('{"report": []}')
    (tmp_path / "my_notes.json").write_text("{}")
    (experts,) = evidence.exhibits(tmp_path)
    assert f" of {n} experts" in experts["findings"][0]
    assert experts["tables"].count("<tr>") == 1 + 3 + 1 + n
    assert experts["command"] == "python -m core experiment verification"
    # The page shows a file's plot without its style, which would affect the whole page. Its texts stay texts.
    (map_of_points,) = (exhibit["plot"] for exhibit in evidence.shipped() if "samples" in exhibit["question"])
    assert map_of_points.startswith('<svg role="img" aria-label="Has the space')
    assert "<style" not in map_of_points and ">ball games</text>" in map_of_points


def test_every_result_that_ships_is_shown_and_costs_come_last() -> None:
    shown, answers = evidence.shipped(), [experiment.question for experiment in EXPERIMENTS.values()]
    assert len(shown) == len(list(results_path("any").parent.glob("*.json")))
    assert [exhibit["question"] for exhibit in shown[: len(answers)]] == answers
    assert all(exhibit["tables"].count("data-csv") == exhibit["tables"].count("<table>") for exhibit in shown)


def test_tables_keep_every_cell() -> None:
    markdown = "all: 2 tasks\n\n| method | R@1 | lead |\n| --- | --- | --- |\n| **a<b** | 1.0 |  |\n| c | 2.0 | +1 |"
    page = evidence._tables(markdown, "t", "results").replace("\n", "")
    assert "<p>all: 2 tasks</p>" in page
    assert "<tr><td><strong>a&lt;b</strong></td><td>1.0</td><td></td></tr><tr><td>c</td><td>2.0</td><td>+1</td></tr>" in page
    assert page.count("<th>") == 3 and 'data-csv download="results.csv"' in page
    assert '<div class="sg-table" tabindex="0" role="region" aria-label="t"><table>' in page


@pytest.mark.parametrize("text", ["photos of dogs", "-1 degrees outside", "--k 3", 'it\'s "quoted" $(here)', "-x"])
def test_commands_say_what_the_page_did(text: str) -> None:
    request = AdapterRequest(text, 3, 0.25, 7, 0.5)
    parse = build_parser().parse_args
    adapt, found, photo, measured = (
        parse(shlex.split(line)[3:])
        for line in (
            adapt_command(request),
            search_command(request, Question.words(text), 20),
            search_command(request, Question.photo("a photo"), 5, names=True),
            evaluate_command(request),
        )
    )
    assert (adapt.task, *found.query, found.task, photo.task, measured.task) == (text,) * 5
    assert (found.top, found.names) == (20, None)
    assert (photo.query, photo.names) == (["PHOTO.jpg"], Path("sg-lora-names.safetensors"))
    for arguments in (adapt, found, photo, measured):
        assert (arguments.k, arguments.tau, arguments.seed, arguments.strength) == (3, 0.25, 7, 0.5)
