"""A visitor's own experts on the page: who sees them, what ends a training, and what the page shows."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shlex
import shutil
import threading
from pathlib import Path

import pytest
import torch
from app.visitors.question import Question
from app.visitors.session import Session
from markupsafe import Markup

from app import actions, expert_actions, texts
from app.cli_snippets import adapt_command, evaluate_command, search_command
from app.views import evidence, experts_html
from app.views.scatter import HEIGHT, WIDTH, Mark, scatter
from core.backbones.peft_format import CONFIG_FILE, WEIGHTS_FILE, save_peft
from core.cli.parser import build_parser
from core.common.errors import AdapterError, GalleryError, RepositoryError
from core.common.paths import results_path
from core.experiments import report
from core.experiments.registry import BENCHMARKS, EXPERIMENTS
from core.experts import recall_summary
from core.experts.adapter_files import routed_experts
from core.experts.own import MAX_OWN, save_zip
from core.sglora.engine import SGLora
from core.sglora.repository import Expert
from core.sglora.request import AdapterRequest

SENTENCE = "photos of glass marbles"
NASTY = "<img src=x onerror=alert(1)> \"'&"


def write_adapter(engine: SGLora, folder: Path) -> list[str]:
    lora = engine.adapt(AdapterRequest(SENTENCE)).lora
    save_peft(lora, folder, engine.backbone.fingerprint, engine.backbone.name, {})
    return [str(folder / CONFIG_FILE), str(folder / WEIGHTS_FILE)]


def add_own(engine: SGLora, session: Session, name: str, description: str = SENTENCE) -> None:
    embedding = engine.backbone.encode_sentence([description])[0]
    mean = engine.repository.means[0]
    expert = Expert(name, description, "own", "own photos", 20, 0, 1, {}, {})
    session.album.change_own_experts(engine, lambda experts: experts.add(expert, mean, torch.zeros_like(mean), embedding))


def test_an_imported_adapter_is_routed_to_by_its_visitor_alone(engine: SGLora, tmp_path: Path) -> None:
    session, other = Session(), Session()
    entry = expert_actions.import_files(engine, session, write_adapter(engine, tmp_path / "a"), SENTENCE)
    mine = session.album.engine(engine)
    routed = routed_experts(mine, mine.route(SENTENCE))
    assert routed[0]["name"] == entry.name
    assert routed[0]["similarity"] == pytest.approx(1.0, abs=1e-4)
    assert other.album.engine(engine) is engine
    assert len(engine.repository) == len(mine.repository) - 1
    session.album.change_own_experts(engine, lambda experts: experts.remove(entry.name))
    assert session.album.engine(engine).route(SENTENCE).similarity.shape == (len(engine.repository),)


def test_an_adapter_is_generated_again_when_the_experts_change(engine: SGLora) -> None:
    session = Session()
    wanted = actions.request(SENTENCE, 4, 0.1, 0, 1.0)
    before = actions.generate(session.album.engine(engine), session, wanted)
    add_own(engine, session, "marbles")
    after = actions.generate(session.album.engine(engine), session, wanted)
    assert after is not before
    assert after.routing.chosen[0] == len(engine.repository)
    assert actions.generate(session.album.engine(engine), session, wanted) is after
    # The LoRA contains the whole own expert, not only the part that the shipped generator can write.
    expected = session.album.own_experts(engine).engine(engine).adapt(AdapterRequest(SENTENCE))
    torch.testing.assert_close(after.full.vector(), expected.full.vector())


def test_strength_alone_scales_what_was_generated(engine: SGLora) -> None:
    session = Session()
    first = actions.generate(engine, session, actions.request(SENTENCE, 4, 0.1, 3, 1.0))
    scaled = actions.generate(engine, session, actions.request(SENTENCE, 4, 0.1, 3, 0.4))
    assert scaled.routing is first.routing
    expected = engine.adapt(AdapterRequest(SENTENCE, seed=3, strength=0.4))
    torch.testing.assert_close(scaled.lora.vector(), expected.lora.vector())
    assert scaled.request == session.request


def test_only_the_columns_that_can_have_changed_are_ranked_again(engine: SGLora) -> None:
    session = Session(merge=True)
    actions.add_samples(engine, session)
    actions.generate(engine, session, actions.request(SENTENCE, 4, 0.1, 0, 1.0))
    first = actions.ask(engine, session, Question.words("a cat")).columns
    actions.generate(engine, session, actions.request(SENTENCE, 4, 0.1, 0, 0.5))
    second = actions.ask_again(engine, session).columns
    assert [a is b for a, b in zip(first, second, strict=True)] == [True, False, False]
    gallery = session.album.gallery(engine)
    gallery.remove([gallery.photos[0].id])
    third = actions.ask_again(engine, session).columns
    assert [c.ranking.total for c in third] == [len(gallery.photos)] * 3
    # With strength 0, the columns are equal, and there are still three.
    actions.generate(engine, session, actions.request(SENTENCE, 4, 0.1, 0, 0.0))
    titles = [c.title for c in actions.ask_again(engine, session).columns]
    assert titles == [texts.ZERO_SHOT, texts.MERGE, texts.SG_LORA]


def test_saved_experts_come_back_and_replace_their_namesakes(engine: SGLora, tmp_path: Path) -> None:
    session = Session()
    with pytest.raises(RepositoryError, match="no own experts"):
        save_zip(session.album.own_experts(engine))
    add_own(engine, session, "one")
    add_own(engine, session, "two", "photos of two things")
    saved = session.album.write("experts.zip", save_zip(session.album.own_experts(engine)))
    session.album.change_own_experts(engine, lambda experts: experts.remove("two"))
    add_own(engine, session, "three")
    assert expert_actions.load_own_experts(session.album.engine(engine), session, str(saved)) == 2
    names = [e.name for e in session.album.own_experts(engine).entries]
    assert sorted(names) == ["one", "three", "two"]
    assert len(session.album.engine(engine).repository) == len(engine.repository) + 3


@pytest.mark.parametrize("names", [[], ["a.zip", "b.zip"], ["a.json"], ["a.json", "b.json"], ["a.txt"]])
def test_a_wrong_file_gets_a_message_that_describes_adapters(engine: SGLora, tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(AdapterError, match="one ZIP, or the two files"):
        expert_actions.import_files(engine, Session(), [str(tmp_path / n) for n in names], SENTENCE)


def test_training_needs_captions_and_a_free_name_before_it_begins(engine: SGLora) -> None:
    session, stop = Session(), threading.Event()
    with pytest.raises(GalleryError, match="at least 20"):
        expert_actions.train(engine, session, "mine", SENTENCE, lambda now: None, stop)
    with pytest.raises(RepositoryError, match="already"):
        expert_actions.train(engine, session, engine.repository.experts[0].name.upper(), SENTENCE, lambda now: None, stop)
    for i in range(MAX_OWN):
        add_own(engine, session, f"own {i}")
    with pytest.raises(RepositoryError, match="remove one"):
        expert_actions.train(engine, session, "one more", SENTENCE, lambda now: None, stop)


# Rendering


def test_names_of_ones_own_are_escaped(engine: SGLora) -> None:
    session = Session()
    add_own(engine, session, NASTY[:50], NASTY)
    mine = session.album.engine(engine)
    routing, own_experts = mine.route(NASTY), session.album.own_experts(engine)
    pages = [
        experts_html.routing_map(mine.repository, routing, 1),
        experts_html.own_list(own_experts),
        experts_html.details(own_experts.entries[0].expert, {"q": 1.0}),
    ]
    for page in pages:
        assert "<img" not in page
    assert texts.NOBODY_MEASURED in pages[2]
    assert experts_html.table([own_experts.entries[0].expert])["data"][0][5:] == [None] * 4


def test_the_map_shows_every_expert_and_what_it_is(engine: SGLora) -> None:
    routing = engine.route("photos of dogs")
    page = experts_html.routing_map(engine.repository, routing, 0)
    assert page.count('class="sg-dot ') == len(engine.repository) + 1
    assert page.count('class="sg-dot sg-dot-routed') == len(routing.chosen)
    first = engine.repository.experts[routing.chosen[0]]
    assert first.source in page
    assert f"{first.gain(1):+.1f} R@1" in page
    assert experts_html.routing_map(engine.repository, None, 0).count('class="sg-dot ') == len(engine.repository)


@pytest.mark.parametrize("points", [[(0, 0)], [(1, 2)] * 3, [(0, 0), (1e6, 1)], [(-1, 1), (1, -1), (0, 5)]])
def test_a_map_of_any_points_stays_inside(points: list[tuple[float, float]]) -> None:
    page = scatter("t", "s", [Mark(str(i), *p, "routed", "", True) for i, p in enumerate(points)])
    places = [part.split('"')[0] for part in page.split('style="left:')[1:] if "calc" not in part.split('"')[0]]
    assert len(places) == len(points)
    for place in places:
        left, top = (float(v.strip("%;").removeprefix("top:").rstrip("%")) for v in place.split(";")[:2])
        assert 0 <= left <= 100 and 0 <= top <= 100
    assert WIDTH > HEIGHT


# Evidence


def test_evidence_copes_with_any_subset(engine: SGLora, tmp_path: Path) -> None:
    assert evidence.exhibits(tmp_path / "absent") == []
    assert evidence.exhibits(tmp_path) == []
    n = sum(e.measured for e in engine.repository.experts)
    result = recall_summary.verify(engine.repository)
    report.write(EXPERIMENTS["verification"], result, tmp_path)
    (tmp_path / "unseen.json").write_text("{")
    (tmp_path / "teach.json").write_text('{"report": []}')
    (tmp_path / "my_notes.json").write_text("{}")
    teach, broken, experts = evidence.exhibits(tmp_path)
    assert (broken.lead, broken.plot) == (texts.EVIDENCE_BROKEN.format(name="unseen.json"), "")
    assert teach.lead == texts.EVIDENCE_BROKEN.format(name="teach.json")
    assert f" of {n} experts" in experts.findings[0]
    assert experts.table.count("<tr>") == 1 + 3 + 1 + n
    assert experts.command == "python -m core experiment verification"
    # The page shows the file's plot without its style, which would affect the whole page. Its texts stay texts.
    assert experts.plot.startswith('<svg role="img" aria-label="Do experts beat')
    assert "<style" not in experts.plot
    assert ">with the expert</text>" in experts.plot


def test_costs_come_after_results(tmp_path: Path) -> None:
    shipped = results_path("bench-indexing")
    for file in (shipped, results_path("verification"), results_path("verification").with_suffix(".svg")):
        shutil.copy(file, tmp_path)
    experts, indexing = evidence.exhibits(tmp_path)
    assert (experts.title, indexing.title) == (EXPERIMENTS["verification"].question, BENCHMARKS["indexing"].question)
    assert indexing.command == "python -m core bench indexing"
    assert all(f"{row['width']} x {row['height']}" in indexing.table for row in json.loads(shipped.read_text())["sizes"])
    assert "<svg" in experts.plot and not indexing.plot


def test_every_result_that_ships_can_be_shown() -> None:
    shown = evidence.shipped()
    assert shown
    assert [e.title for e in shown if not e.findings or not e.table] == []


def files_in(page: str) -> list[tuple[str, str]]:
    """(name, content) of every CSV file that a page offers."""
    links = re.findall(r'href="data:text/csv;charset=utf-8;base64,([^"]*)" download="([^"]*)"', page)
    return [(name, base64.b64decode(content).decode()) for content, name in links]


def test_the_tab_opens_with_three_sentences_and_a_chart_and_folds_the_rest() -> None:
    def exhibit(number: int, **values: object) -> evidence.Exhibit:
        return evidence.Exhibit(f"question {number}?", "method", (f"Finding {number}a. And b.", "Finding c."), **values)

    shown = [exhibit(0), exhibit(1, plot=Markup("<svg>1</svg>")), exhibit(2)]
    opening, rest = evidence.page(shown).split("<nav", 1)
    assert re.findall("<li>(.*?)</li>", opening) == ["Finding 1a.", "And b.", "Finding c."]
    assert "<svg>1</svg>" in opening
    assert 'href="#evidence-1"' in opening
    assert rest.count("<details") == 3
    assert "open" not in re.findall("<details([^>]*)>", rest)
    assert re.findall("<summary><b>(.*?)</b>", rest) == ["question 0?", "question 1?", "question 2?"]
    # A result with its own summary goes first.
    shown.append(exhibit(3, summary=("One.", "Two."), plot=Markup("<svg>3</svg>")))
    opening = evidence.page(shown).split("<nav", 1)[0]
    assert re.findall("<li>(.*?)</li>", opening) == ["One.", "Two."]
    assert "<svg>3</svg>" in opening


def test_every_table_that_ships_is_a_file_of_as_many_rows() -> None:
    for exhibit in evidence.shipped():
        files = files_in(exhibit.table)
        assert len(files) == exhibit.table.count("<table>") == len({name for name, _ in files})
        rows = sum(len(list(csv.reader(io.StringIO(content)))) for _, content in files)
        assert rows == exhibit.table.count("<tr>")


def test_tables_keep_every_cell() -> None:
    markdown = "all: 2 tasks\n\n| method | R@1 | lead |\n| --- | --- | --- |\n| **a<b** | 1.0 |  |\n| c | 2.0 | +1 |"
    page = evidence._tables(markdown, "t", "results").replace("\n", "")
    assert "<p>all: 2 tasks</p>" in page
    assert "<tr><td><strong>a&lt;b</strong></td><td>1.0</td><td></td></tr><tr><td>c</td><td>2.0</td><td>+1</td></tr>" in page
    assert page.count("<th>") == 3
    assert '<div class="sg-table" tabindex="0" role="region" aria-label="t 1"><table>' in page
    ((name, content),) = files_in(page)
    assert name == "results-1.csv"
    assert list(csv.reader(io.StringIO(content))) == [["method", "R@1", "lead"], ["a<b", "1.0", ""], ["c", "2.0", "+1"]]


# Commands


@pytest.mark.parametrize("text", ["photos of dogs", "-1 degrees outside", "--k 3", 'it\'s "quoted" $(here)', "-x"])
def test_commands_say_what_the_page_did(text: str) -> None:
    request = AdapterRequest(text, 3, 0.25, 7, 0.5)
    parse = build_parser().parse_args
    adapt, found, photo, measured = (
        parse(shlex.split(line)[3:])
        for line in (
            adapt_command(request),
            search_command(request, text, 20),
            search_command(request, None, 5, names=True),
            evaluate_command(request),
        )
    )
    assert (adapt.text, *found.query, found.task, photo.task, measured.task) == (text,) * 5
    assert (found.top, found.names) == (20, None)
    assert (photo.query, photo.names) == (["PHOTO.jpg"], Path("sg-lora-names.safetensors"))
    for arguments in (adapt, found, photo, measured):
        assert (arguments.k, arguments.tau, arguments.seed, arguments.strength) == (3, 0.25, 7, 0.5)
