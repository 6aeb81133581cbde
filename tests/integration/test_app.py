"""The endpoints as gradio_client calls them, what a visitor can do, and what the page shows of it."""

import gzip
import json
import re
import shutil
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from app_visitors import SENTENCE, Running, Visitor, client_of
from command_line import Run
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from made_up_photos import blurred
from make_zips import photo as png
from recalls import headline, ranked
from strangers import Stranger
from zips import zipped

from app.actions import adding, answering
from app.actions.adapters import write_zip
from app.answers.comparison import Column, Comparison
from app.answers.question import Asked, Question, Scope
from app.languages import texts
from app.models.engines import Models
from app.page.context import StepContext
from app.page.layout import Studio
from app.page.view import Controls
from app.page.views import experts_html, method_html, page_html, results_html
from app.visitors import visitor as one_visitor
from app.visitors.registry import Visitors
from app.visitors.tab import Tab
from app.visitors.visitor import AWAITED_SECONDS
from app.visitors.visitor import Visitor as Person
from core.backbones.peft_format import load_peft
from core.common.errors import DescriptionError, GalleryError, RepositoryError
from core.common.messages import message
from core.data.decode import content_id
from core.retrieval.gallery import ZERO_SHOT, Adapter, Gallery, Hit, Photo, Ranking
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

REQUEST = AdapterRequest(SENTENCE)


@pytest.fixture(scope="module")
def client(app: Running, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return client_of(app.url, tmp_path_factory.mktemp("downloads"))


# Endpoints


def test_the_page_goes_compressed_but_files_do_not(app: Running) -> None:
    def fetched(route: str = "", **headers: str) -> tuple[bytes, str | None]:
        with urllib.request.urlopen(urllib.request.Request(app.url + route, headers=headers)) as answer:
            return answer.read(), answer.headers["content-encoding"]

    (plain, encoding), (packed, packed_encoding) = fetched(), fetched(**{"Accept-Encoding": "gzip"})
    assert (encoding, packed_encoding) == (None, "gzip") and len(packed) < len(plain) / 4
    assert len(gzip.decompress(packed)) == len(plain)
    _, file = Stranger(app.url).call("adapt", SENTENCE, 4, 0.1, 0, None, None, "whole", "").values
    adapter, encoding = fetched(f"gradio_api/file={file['path']}", **{"Accept-Encoding": "gzip"})
    assert encoding is None and adapter[:2] == b"PK"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("k", 999, "k is 999: there are 220 experts."),
        ("k", 0, "k is 0: give a whole number, at least one expert."),
        ("k", 2.5, "k is 2.5: give a whole number, at least one expert."),
        ("tau", 5, "tau is 5: the temperature must be above 0, at most 1."),
        ("strength", -1, "The strength is -1: this backbone takes 0 to 1."),
    ],
)
def test_endpoint_and_command_line_say_the_same_of_a_number(
    app: Running, run: Run, tmp_path: Path, name: str, value: float, message: str
) -> None:
    sampling = {"k": 4, "tau": 0.1, "seed": 0, "strength": 0.8, name: value}
    answer = Stranger(app.url).call("adapt", SENTENCE, *sampling.values(), None, "whole", "")
    assert (answer.values, answer.words) == (None, message)
    if value != 2.5:  # argparse takes whole numbers only
        code, _, err = run("adapt", SENTENCE, "--out", tmp_path / "out", f"--{name}={value}")
        assert (code, err.splitlines()[-1]) == (1, message)


def test_adapt_gives_an_experts_part_alone(app: Running, engine: SGLora, tmp_path: Path) -> None:
    client = client_of(app.url, tmp_path)
    answer, path = client.predict(description=SENTENCE, seed=7, part="expert", api_name="/adapt")
    own = engine.adapt(AdapterRequest(SENTENCE, seed=7)).own
    assert (answer["parameters"], answer["rank"]) == (own.parameters, own.rank)
    assert Path(path).stat().st_size < 150_000
    shutil.unpack_archive(path, folder := tmp_path / "adapter")
    lora, provenance = load_peft(folder, engine.repository.layout.modules, engine.backbone.fingerprint)
    torch.testing.assert_close(lora.vector(), own.vector(), atol=1e-3, rtol=1e-3)
    assert (provenance["part"], provenance["description"]) == ("expert", SENTENCE)
    assert provenance["experts"] == answer["experts"] and provenance["backbone_fingerprint"] == engine.backbone.fingerprint
    client.predict(name="Shrek", files=[handle_file(p) for p in blurred(tmp_path / "p", ["a.png"], 1)], api_name="/teach")
    with pytest.raises(AppError, match="Only the whole adapter has taught names"):
        client.predict(description=SENTENCE, part="expert", api_name="/adapt")


def test_index_reports_and_search_ranks_as_core_does(app: Running, engine: SGLora, tmp_path: Path) -> None:
    client = client_of(app.url, tmp_path)
    paths = blurred(tmp_path / "photos", [f"photo-{i}.png" for i in range(6)], seed=1)
    twin, broken = (tmp_path / "photos" / name for name in ("twin.png", "broken.jpg"))
    shutil.copy(paths[0], twin)
    broken.write_bytes(b"\xff\xd8\xff\xe0 not a photo")
    captions = "photo-1.png: a sunny beach\nphoto-2.png: a dark street"
    answer = client.predict(files=[*map(handle_file, [*paths, twin, broken])], captions=captions, api_name="/index")
    assert (answer["added"], answer["duplicates"], answer["photos"], answer["captioned"]) == (6, ["twin.png"], 6, 2)
    assert [f["name"] for f in answer["failed"]] == ["broken.jpg"]
    assert "damaged" in answer["failed"][0]["reason"]

    found = client.predict(query="a sunny beach", description=SENTENCE, seed=3, strength=0.4, api_name="/search")
    gallery = Gallery(engine.backbone)
    gallery.add(paths)
    adaptation = engine.adapt(AdapterRequest(SENTENCE, seed=3, strength=0.4))
    merged = engine.repository.merged(adaptation.routing.chosen, adaptation.routing.weights)
    without = client.predict(query="a sunny beach", api_name="/search")
    assert list(without) == ["zero_shot", "shared"]
    for answered, adapter in (
        (found["zero_shot"], ZERO_SHOT),
        (found["merge"], Adapter.of(*engine.applied(merged, adaptation.strength))),
        (found["sg_lora"], Adapter.of(adaptation.lora, adaptation.weight)),
        (without["zero_shot"], ZERO_SHOT),
        (without["shared"], Adapter.of(engine.backbone.shared, engine.usual_strength)),
    ):
        hits = ranked(gallery, "a sunny beach", adapter, 10).hits
        assert [(h["name"], h["rank"]) for h in answered] == [(h.label, h.rank) for h in hits]
        assert [h["score"] for h in answered] == pytest.approx([h.score for h in hits], abs=1e-3)


def test_visitors_at_once_never_see_each_others_photos(app: Running, tmp_path: Path) -> None:
    def visit(number: int) -> tuple[set[str], set[str]]:
        visitor = Visitor(app, tmp_path, 10 + number)
        visitor.add()
        return visitor.found(), visitor.names()

    with ThreadPoolExecutor(3) as pool:
        for seen, own in pool.map(visit, range(3)):
            assert seen == own


@pytest.mark.parametrize(
    ("endpoint", "arguments", "message"),
    [
        ("/route", {"description": "  "}, "The description is empty"),
        ("/adapt", {"description": SENTENCE, "seed": -1}, "The seed is -1"),
        ("/adapt", {"description": SENTENCE, "part": "half"}, "choose one of whole, expert, shared"),
        ("/search", {"query": "a dog", "description": SENTENCE}, "no photos yet"),
        ("/index", {"files": None, "captions": "no name here"}, "line 1"),
    ],
)
def test_bad_input_gets_its_message_and_the_app_goes_on(client: Client, endpoint: str, arguments: dict, message: str) -> None:
    with pytest.raises(AppError, match=re.escape(message)) as caught:
        client.predict(**arguments, api_name=endpoint)
    assert "Traceback" not in str(caught.value)
    assert client.predict(description="фотографии собак", api_name="/route")["experts"]


def test_the_page_says_why_there_are_no_models() -> None:
    def load() -> SGLora:
        raise RepositoryError("The experts are damaged: restore <them>.")

    context = StepContext(Models(load), Visitors())
    with gr.Blocks():
        Studio(context)
        for step in context.steps:
            step.wire()
    with pytest.raises(RepositoryError):
        context.models.get()
    tab = Tab(Person())
    tab.drawn.controls = Controls()
    shown = json.loads(context.redraw(tab, {})[context.drawn])
    assert "The experts are damaged: restore &lt;them&gt;." in shown["html"]["status"]


def test_a_sentence_leads_to_no_other_folder(engine: SGLora) -> None:
    tab = Tab(Person())
    answering.answer(engine, tab, Asked(request=AdapterRequest("../../etc/passwd")))
    assert write_zip(engine, tab.visitor, tab.adaptation).resolve().is_relative_to(tab.visitor.files.folder.resolve())


# Uploads


def test_photos_of_a_zip_are_kept_for_another_backbone(engine: SGLora, tmp_path: Path) -> None:
    tab = Tab(Person())
    photos = {f"{number}.png": png(number) for number in range(2)}
    files = {"broken.png": b"no photo", "again.png": photos["0.png"], **photos}  # the good photos come last
    (tmp_path / "photos.zip").write_bytes(zipped(files))
    added = adding.add_uploads(engine, tab, [str(tmp_path / "photos.zip")])
    assert added.report is not None and len(added.report.added) == 2
    kept = {file.stem: file.read_bytes() for file in (tab.visitor.files.folder / "photos").iterdir()}
    assert kept == {content_id(content): content for content in photos.values()}


def test_captions_as_flickr8k_has_them(app: Running) -> None:
    """unit/test_data.py reads the two forms in which it was published."""
    text = "1_a.jpg#0\tA child in pink .\n1_a.jpg#1\tA girl .\n2_b.jpg#0\tA dog .\n"
    files = {"1_a.jpg": png(1), "2_b.jpg": png(2), "captions.txt": text.encode(), "notes.txt": b"words, and words"}
    stranger = Stranger(app.url)
    (indexed,) = stranger.call("index", [stranger.upload(*file) for file in files.items()], "", None, "").values
    assert (indexed["photos"], indexed["captioned"]) == (2, 2)
    ((name, reason),) = (each.values() for each in indexed["failed"])
    assert name == "notes.txt" and all(form in reason for form in ("CSV", "JSONL", "Flickr8k"))


def test_photos_that_wait_for_their_turn_count_as_being_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page polls the progress of an upload. It must not stop before the upload's turn comes."""
    person = Person()
    assert not person.adding and texts.ADDING not in page_html.gallery_line(person)
    person.await_photos()
    assert person.adding and texts.ADDING in page_html.gallery_line(person)
    with person.photos_change():
        person.note_progress(1, 4)
        assert "1 of 4 photos indexed" in page_html.gallery_line(person)
    person.await_photos(False)
    assert not person.adding
    person.await_photos()
    later = time.monotonic() + AWAITED_SECONDS
    # Patch only this module's clock: with a global patch, the server that runs beside this test would sleep until then.
    monkeypatch.setattr(one_visitor, "time", SimpleNamespace(monotonic=lambda: later))
    assert not person.adding, "the page must stop waiting for an upload that never comes"


# Rendering

NASTY = "<img src=x onerror=alert(1)> ${1+1} {{x}} \"'&"


def compared(columns: tuple[Column, ...], asked: Question, photos: tuple[Photo, ...] = (), zero_shot: bool = True) -> str:
    title = message("Photos for “{query}”", query=asked.what)
    return results_html.comparison(Comparison(title, columns, asked, photos=photos), 10, zero_shot)


def test_what_visitors_write_is_escaped(engine: SGLora) -> None:
    """hostile/ has the other parts of the page."""
    adaptation, hit = engine.adapt(AdapterRequest(NASTY)), Hit("k", NASTY, 0.5, 1)
    columns = tuple(Column(title, "", Ranking((hit,), 1), {"k": 0}) for title in ("ZERO_SHOT", "SG_LORA"))
    photos = (Photo("k", NASTY, b"jpeg", (NASTY,)),)
    pages = [
        page_html.routing_details(engine, adaptation.routing),
        *method_html.boxes(engine, adaptation).values(),
        compared(columns, Question.words(NASTY), photos),
        compared(columns, Question.photo("k"), photos),
    ]
    for page in pages:
        assert "<img src=x" not in page
        assert 'onerror=alert(1)> ${1+1} {{x}} "' not in page


def test_results_say_how_they_moved_beside_zero_shot_alone() -> None:
    def ranking(order: str) -> Ranking:
        return Ranking(tuple(Hit(key, key, 1.0, rank) for rank, key in enumerate(order, 1)), len(order))

    columns = (Column("ZERO_SHOT", "", ranking("abc"), {}), Column("SG_LORA", "", ranking("acb"), {"a": 0, "b": -1, "c": 1}))
    page = compared(columns, Question.photo(""))
    assert page.count('data-key="b"') == 2 and "moved up 1 place" in page and texts.DID_NOT_MOVE in page
    alone = compared(columns, Question.photo(""), zero_shot=False)
    assert alone.count('data-key="b"') == 1 and "moved up" not in alone


def test_experts_are_found_by_their_words(engine: SGLora) -> None:
    experts = engine.repository.experts
    rows = experts_html.table(experts)["data"]
    assert len(rows) == len(experts)
    assert all(len(row) == len(experts_html.headers()) for row in rows)
    found = experts_html.table(experts, f"{experts[0].group} {experts[0].name}".upper())["data"]
    assert experts[0].name in [row[0] for row in found]
    assert experts_html.table(experts, "no such expert anywhere")["data"] == []


def test_the_header_says_what_the_shipped_result_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, found = tmp_path / "known.json", {"zero-shot": 23.7, "one-lora": 36.7, "sg-lora": 48.9}
    monkeypatch.setattr(page_html, "results_path", lambda name: file)
    sides = {name: {"mean": {"R@1": value}} for name, value in found.items()}
    file.write_text(json.dumps({"groups": {texts.MEASURED_GROUP: {"methods": sides}}}))
    assert texts.MEASURED.format(before=24, one=37, after=49) in page_html.measured()


# Answers


def words(query: str, request: AdapterRequest | None = None, merge: bool = False, scope: Scope = Scope()) -> Asked:
    return Asked(Question.words(query, scope), request, merge)


def captioned(engine: SGLora, folder: Path, count: int = 8) -> Tab:
    tab, names = Tab(Person()), [f"{i}.png" for i in range(count)]
    adding.add_uploads(engine, tab, [str(p) for p in blurred(folder, names, 7)])
    adding.set_captions(engine, tab, {name: [f"the photo number {i}"] for i, name in enumerate(names)})
    return tab


def test_an_answer_that_fails_leaves_what_the_tab_showed(engine: SGLora, tmp_path: Path) -> None:
    tab = captioned(engine, tmp_path, 2)
    shown = answering.answer(engine, tab, words("water", REQUEST))
    for asked in (words(""), words("x", scope=Scope(folder="none"))):
        with pytest.raises((DescriptionError, GalleryError)):
            answering.answer(engine, tab, asked)
        assert tab.comparison is shown and tab.asked == words("water", REQUEST)


def test_without_photos_the_adapter_stays(engine: SGLora, tmp_path: Path) -> None:
    tab = captioned(engine, tmp_path, 2)
    for scope in (Scope(), Scope(folder="trip")):
        tab.visitor.remove([photo.id for photo in tab.visitor.photos])
        assert answering.answer_again(engine, tab, words("water", REQUEST, scope=scope)) is None
        assert tab.comparison is None and tab.adaptation is not None
    tab.visitor.take_back()
    tab.asked = words("water", REQUEST)
    assert answering.answer_again(engine, tab) is not None


def test_a_question_before_the_first_photo_gets_a_message_and_then_its_answer(engine: SGLora, tmp_path: Path) -> None:
    tab = Tab(Person())
    tab.visitor.await_photos()
    photo = Question.photo(None, str(blurred(tmp_path, ["b.png"], 9)[0]))
    for asked in (Asked(photo), words("water")):
        with pytest.raises(GalleryError, match="are being added"):
            answering.answer(engine, tab, asked)
    assert answering.answer_again(engine, tab) is None
    tab.visitor.await_photos(False)
    with pytest.raises(GalleryError, match="no photos yet"):
        answering.answer(engine, tab, words("water"))
    tab.visitor.gallery(engine).add(blurred(tmp_path, ["a.png"], 9))
    made = answering.answer_again(engine, tab)
    assert made is not None and made.asked.what == "water" and made.photos, "must search the photos that are there"


def test_the_right_answers_are_those_that_captions_name(engine: SGLora, tmp_path: Path) -> None:
    tab = captioned(engine, tmp_path)
    photo = tab.visitor.photos[3]
    made = answering.answer(engine, tab, words("  The photo  number 3. "))
    assert made is not None and made.right == {photo.id}
    places = [next(h.rank for h in column.ranking.hits if h.key == photo.id) for column in made.columns]
    page = results_html.comparison(made, 2)
    assert page.count('class="sg-hit sg-right"') == len(made.columns), "the right photo is shown at any rank"
    assert " → ".join(map(str, places)) in page
    made = answering.answer(engine, tab, words("something else"))
    assert made is not None and made.right == frozenset()
    made = answering.answer(engine, tab, Asked(Question.photo(photo.id)))
    assert [h.label for h in made.columns[0].ranking.hits if h.key in made.right] == ["the photo number 3"]


def test_photos_that_trained_an_expert_are_left_out_of_recall(engine: SGLora, tmp_path: Path) -> None:
    tab = captioned(engine, tmp_path)
    routed = engine.repository.experts[int(engine.adapt(REQUEST).routing.chosen[0])].name
    trained = frozenset(p.id for p in tab.visitor.photos[:3])
    tab.visitor.trained_on = {routed: trained, "takes no part": frozenset(p.id for p in tab.visitor.photos)}
    answering.answer(engine, tab, words("water", REQUEST, merge=True))
    made = answering.measure(engine, tab)
    assert made is not None and made.left_out == trained
    assert {each.hits["t2i"].total for each in made.counted} == {5}
    others = Gallery(engine.backbone)
    others.add(sorted(tmp_path.glob("*.png"))[3:])
    others.set_captions({f"{i}.png": [f"the photo number {i}"] for i in range(3, 8)})
    assert made.counted[0].hits["t2i"].ranks.tolist() == others.contents.hits()["t2i"].ranks.tolist()
    assert texts.LEFT_OUT.format(n=3) in results_html.recalls(made)


def test_thumbs_count_what_the_visitor_looked_for(engine: SGLora, tmp_path: Path) -> None:
    tab = captioned(engine, tmp_path, 12)
    made = answering.answer(engine, tab, words("water"))
    first, shared = (column.ranking.hits for column in made.columns)
    ten = {hit.key for hit in shared[:10]}

    def said(tab: Tab) -> str:
        return re.sub("<[^>]+>", "", str(results_html.marked(tab.comparison, tab.ticked)))

    def expected(*keys: str) -> str:
        n, after = len(keys), len(ten & {*keys})
        what = texts.MARKED.format(question="Photos for “water”", total=n)
        return headline(what, ZERO_SHOT=1, SHARED=after)

    for row, right in ((0, True), (11, True), (3, False)):
        answering.mark(tab, first[row].key, right)
    answering.mark(tab, "no such photo", True)
    assert said(tab) == expected(first[0].key, first[11].key)
    answering.mark(tab, first[11].key, True)  # a second click removes the mark
    assert said(tab) == expected(first[0].key)
    # A new tab with the question has its marks. They go with the question, and with the photos.
    again = Tab(tab.visitor)
    again.asked = tab.asked
    answering.answer_again(engine, again)
    assert again.comparison is not None and again.comparison.asked == made.asked
    assert said(again) == said(tab)
    answering.answer(engine, again, words("a dog"))
    assert said(again) == ""
    tab.visitor.remove([photo.id for photo in tab.visitor.photos])
    answering.answer_again(engine, tab)
    assert said(tab) == ""


def test_marks_of_the_latest_questions_are_kept(engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "MARKED_QUESTIONS", 3)
    tab = captioned(engine, tmp_path, 2)
    for number in range(5):
        answering.answer(engine, tab, words(f"something number {number}"))
        answering.mark(tab, tab.visitor.photos[0].id, True)
    assert [question.what for question in tab.visitor.marks] == [f"something number {n}" for n in (2, 3, 4)]


def test_photos_removed_last_come_back_and_count_as_memory(engine: SGLora, tmp_path: Path) -> None:
    person = captioned(engine, tmp_path, 3).visitor
    photos, memory = person.photos, person.memory
    person.remove([photo.id for photo in photos])
    assert person.photos == () and person.memory >= memory > sum(len(photo.thumbnail) for photo in photos)
    person.remove([photos[0].id])  # a second tab may still show it
    assert len(person.removed) == 3
    person.take_back()
    assert person.photos == photos and not person.removed
    person.remove([photos[0].id])
    person.remove([photos[1].id])
    person.take_back()
    assert [photo.name for photo in person.photos] == ["1.png", "2.png"], "one step back"


def test_captions_for_other_photos_say_which_names_they_use(engine: SGLora, tmp_path: Path) -> None:
    tab = captioned(engine, tmp_path, 2)
    remark = adding.set_captions(engine, tab, {"elsewhere.jpg": ["a dog"]})
    assert remark == texts.CAPTIONS_NO_PHOTO.format(name="elsewhere.jpg", photo="0.png")
    assert len(adding.set_captions(engine, tab, {"x" * 100_000: ["a dog"]})) < 500
