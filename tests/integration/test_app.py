"""The page's Python side: sessions, uploads, rendering, and the named endpoints as gradio_client calls them."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from app_visitors import client_of, serve_page
from made_up_photos import blurred
from PIL import Image

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from app import actions, texts
from app.engines import Models
from app.page import Studio, build, launch_options
from app.views import experts_html, page_html, results_html
from app.views.results_html import Shown
from app.visitors import album as album_module
from app.visitors.album import AWAITED_SECONDS, KEPT_DOWNLOADS, Album, open_albums
from app.visitors.comparison import Column, Comparison
from app.visitors.question import Question, Within
from app.visitors.session import MARKED_QUESTIONS, Session
from app.visitors.uploads import sort_uploads
from core.backbones.peft_format import load_peft
from core.common.errors import DescriptionError, GalleryError, RepositoryError
from core.data.decode import content_id
from core.experts.adapter_files import routed_experts
from core.experts.compare import nearest_distances
from core.retrieval.gallery import ZERO_SHOT, Adapter, Gallery, Hit, Photo, Ranking
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

SENTENCE = "photos of people surfing"


@pytest.fixture(scope="module")
def models() -> Models:
    return Models()


@pytest.fixture(scope="module")
def engine(models: Models) -> SGLora:
    return models.get()


@pytest.fixture(scope="module")
def url(models: Models) -> Iterator[str]:
    page = build(models, samples=False)
    yield serve_page(page, **launch_options())
    page.close()


@pytest.fixture
def client(url: str, tmp_path: Path) -> Client:
    return connect(url, tmp_path)


def test_the_page_goes_compressed(url: str) -> None:
    def fetched(**headers: str) -> tuple[bytes, str | None]:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.read(), answer.headers["content-encoding"]

    (plain, said), (packed, how) = fetched(), fetched(**{"Accept-Encoding": "gzip"})
    assert (said, how) == (None, "gzip") and len(packed) < len(plain) / 4
    assert len(gzip.decompress(packed)) == len(plain)


def connect(url: str, folder: Path) -> Client:
    return client_of(url, folder / "downloads")


def upload(client: Client, paths: list[Path], captions: str = "") -> dict:
    return client.predict(files=[handle_file(p) for p in paths], captions=captions, api_name="/index")


# Endpoints


def test_only_the_steps_are_public(client: Client) -> None:
    assert set(client.view_api(return_format="dict", print_info=False)["named_endpoints"]) == {
        "/route",
        "/adapt",
        "/index",
        "/search",
        "/import_adapter",
        "/teach",
    }


def test_a_link_to_the_page_is_previewed_with_its_own_words(url: str) -> None:
    with urllib.request.urlopen(url) as answer:
        page = answer.read().decode()
    tags = dict(re.findall(r'<meta\s+(?:property|name)="((?:og|twitter):\w+)"\s+content="([^"]*)"', page))
    words = {"title": texts.TITLE, "description": texts.TAGLINE}
    assert tags == {f"{site}:{what}": said for site in ("og", "twitter") for what, said in words.items()}


def test_route_is_what_core_computes(client: Client, engine: SGLora) -> None:
    answer = client.predict(description=SENTENCE, k=3, tau=0.2, api_name="/route")
    assert answer["experts"] == routed_experts(engine, engine.route(SENTENCE, 3, 0.2))


def test_k_beyond_the_repository_means_all_experts(client: Client, engine: SGLora) -> None:
    answer = client.predict(description=SENTENCE, k=10_000, api_name="/route")
    assert len(answer["experts"]) == len(engine.repository)


def test_adapt_gives_an_adapter_that_loads(client: Client, engine: SGLora, tmp_path: Path) -> None:
    answer, path = client.predict(description=SENTENCE, seed=7, strength=0.5, api_name="/adapt")
    expected = engine.adapt(AdapterRequest(SENTENCE, seed=7, strength=0.5))
    assert answer["parameters"] == expected.lora.parameters
    assert answer["seed"] == 7
    shutil.unpack_archive(path, tmp_path / "adapter")
    lora, provenance = load_peft(
        tmp_path / "adapter", engine.backbone.linears.values(), engine.backbone.fingerprint, partly=True
    )
    torch.testing.assert_close(lora.vector(), expected.lora.vector())
    assert provenance["description"] == SENTENCE
    assert provenance["backbone_fingerprint"] == engine.backbone.fingerprint
    assert provenance["experts"] == answer["experts"]


def test_index_reports_and_search_ranks_as_core_does(client: Client, engine: SGLora, tmp_path: Path) -> None:
    paths = blurred(tmp_path / "photos", [f"photo-{i}.png" for i in range(6)], seed=1)
    twin = tmp_path / "photos" / "twin.png"
    shutil.copy(paths[0], twin)
    broken = tmp_path / "photos" / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 not a photo")
    answer = upload(client, [*paths, twin, broken], "photo-1.png: a sunny beach\nphoto-2.png: a dark street")
    assert (answer["added"], answer["duplicates"], answer["photos"], answer["captioned"]) == (6, ["twin.png"], 6, 2)
    assert [f["name"] for f in answer["failed"]] == ["broken.jpg"]
    assert "damaged" in answer["failed"][0]["reason"]

    found = client.predict(query="a sunny beach", description=SENTENCE, seed=3, api_name="/search")
    gallery = Gallery(engine.backbone)
    gallery.add(paths)
    adaptation = engine.adapt(AdapterRequest(SENTENCE, seed=3))
    without = client.predict(query="a sunny beach", description=" ", api_name="/search")
    assert list(without) == ["zero_shot", "shared"]
    for ranked, adapter in (
        (found["zero_shot"], ZERO_SHOT),
        (found["merge"], Adapter.of(*engine.applied(engine.repository.merged(adaptation.routing), adaptation.strength))),
        (found["sg_lora"], Adapter.of(adaptation.lora, adaptation.weight)),
        (without["zero_shot"], ZERO_SHOT),
        (without["shared"], Adapter.of(engine.backbone.shared, engine.usual_strength)),
    ):
        hits = gallery.text_to_image("a sunny beach", adapter, 10).hits
        assert [(h["name"], h["rank"]) for h in ranked] == [(h.label, h.rank) for h in hits]
        assert [h["score"] for h in ranked] == pytest.approx([h.score for h in hits], abs=1e-3)


def test_visitors_at_once_never_see_each_others_photos(url: str, tmp_path: Path) -> None:
    def visit(number: int) -> set[str]:
        visitor = connect(url, tmp_path / str(number))
        paths = blurred(tmp_path / str(number), [f"{number}-{i}.png" for i in range(4)], seed=10 + number)
        for path in paths:
            upload(visitor, [path])
        found = visitor.predict(query="water", description=SENTENCE, api_name="/search")
        return {h["name"] for key in ("zero_shot", "merge", "sg_lora") for h in found[key]}

    with ThreadPoolExecutor(3) as pool:
        seen = list(pool.map(visit, range(3)))
    assert seen == [{f"{n}-{i}.png" for i in range(4)} for n in range(3)]


@pytest.mark.parametrize(
    ("endpoint", "arguments", "message"),
    [
        ("/route", {"description": "  "}, "The description is empty"),
        ("/route", {"description": "x" * 100_000}, "100,000 characters"),
        ("/route", {"description": SENTENCE, "k": 0}, "at least one expert"),
        ("/route", {"description": SENTENCE, "tau": 0}, "temperature must be above 0"),
        ("/adapt", {"description": SENTENCE, "seed": -1}, "The seed is -1"),
        ("/adapt", {"description": SENTENCE, "strength": 1e9}, "The strength is 1e+09"),
        ("/search", {"query": "a dog", "description": SENTENCE}, "no photos yet"),
        ("/search", {"query": "", "description": SENTENCE}, "The query is empty"),
        ("/index", {"files": None, "captions": "no name here"}, "line 1"),
    ],
)
def test_bad_input_gets_its_message_and_the_app_goes_on(client: Client, endpoint: str, arguments: dict, message: str) -> None:
    with pytest.raises(AppError, match=message.replace("+", r"\+")) as caught:
        client.predict(**arguments, api_name=endpoint)
    assert "Traceback" not in str(caught.value)
    assert client.predict(description="фотографии собак", api_name="/route")["experts"]


def test_a_failure_of_ours_shows_a_general_message_only(url: str, models: Models, monkeypatch, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret path")

    monkeypatch.setattr(models, "get", fail)
    with pytest.raises(AppError) as caught:
        connect(url, tmp_path).predict(description=SENTENCE, api_name="/route")
    assert "a secret path" not in str(caught.value)


# Sessions


def test_a_copied_session_starts_empty() -> None:
    import copy

    session = Session(history=[("a", "b")])
    copied = copy.deepcopy(session)
    assert copied.album is not session.album
    assert copied.history == []


def test_only_the_token_brings_an_album_back() -> None:
    session = Session()
    assert Session.resume(session.album.token).album is session.album
    for token in (None, "", "guess", 3, {"a": 1}):
        assert Session.resume(token).album is not session.album


def test_an_album_goes_with_its_last_session() -> None:
    session = Session()
    token, folder = session.album.token, session.album.folder
    again = Session.resume(token)
    del session
    assert folder.is_dir()
    del again
    assert not folder.exists()
    assert Session.resume(token).album.token != token


def test_models_that_cannot_load_say_why() -> None:
    def load() -> SGLora:
        raise RepositoryError("The experts are damaged.")

    broken = Models(load)
    with pytest.raises(RepositoryError, match="damaged"):
        broken.get()


def test_the_page_says_why_there_are_no_models() -> None:
    def load() -> SGLora:
        raise RepositoryError("The experts are damaged: restore <them>.")

    studio = Studio(Models(load))
    with gr.Blocks() as page:
        studio.build(page)
    assert "The experts are damaged: restore &lt;them&gt;." in studio._ready(Session())[studio.status]


# Adapters


def test_equal_settings_are_generated_once(engine: SGLora) -> None:
    session = Session()
    wanted = actions.request(SENTENCE, 4, 0.1, 0, 1.0)
    first = actions.generate(engine, session, wanted)
    assert actions.generate(engine, session, wanted) is first
    assert actions.generate(engine, session, actions.request(SENTENCE, 4, 0.1, 1, 1.0)) is not first


def test_only_the_last_zips_are_kept(engine: SGLora) -> None:
    session = Session()
    paths = []
    for seed in range(KEPT_DOWNLOADS + 2):
        actions.generate(engine, session, actions.request("../../etc/passwd", 4, 0.1, seed, 1.0))
        paths.append(actions.write_zip(engine, session))
    assert [path.exists() for path in paths] == [False] * 2 + [True] * KEPT_DOWNLOADS
    assert paths[-1].is_relative_to(session.album.folder)
    assert sorted(zipfile.ZipFile(paths[-1]).namelist()) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]


@pytest.mark.parametrize("values", [(None, 0.1, 0, 1), (4, float("nan"), 0, 1), (4, 0.1, 2.0**40, 1), (4, 0.1, 0, -1)])
def test_requests_that_cannot_be_used(values: tuple) -> None:
    with pytest.raises(DescriptionError):
        actions.request(SENTENCE, *values)


# Uploads


def png(colour: str = "green") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_photos_of_a_zip_are_kept_for_another_backbone(engine: SGLora, tmp_path: Path) -> None:
    session = Session()
    session.album.keeps_files = True
    photos = {f"{colour}.png": png(colour) for colour in ("red", "blue")}
    files = {"broken.png": b"no photo", "again.png": photos["red.png"], **photos}  # the good photos come last
    added = actions.add_uploads(engine, session, [str(pack(tmp_path / "photos.zip", files))])
    assert added.report is not None and len(added.report.added) == 2
    kept = {file.stem: file.read_bytes() for file in (session.album.folder / "photos").iterdir()}
    assert kept == {content_id(content): content for content in photos.values()}


def test_a_zip_is_unpacked_inside_its_folder(tmp_path: Path) -> None:
    members = {"../../evil.png": png(), "/abs.png": png(), "a/b.png": png(), "b/b.png": png(), "__MACOSX/._b.png": b"x"}
    members |= {".hidden": b"x", "captions.csv": b"image,caption\nb.png,green"}
    target = tmp_path / "in" / "unpacked"
    uploads = sort_uploads([pack(tmp_path / "photos.zip", members)], target)
    assert sorted(name for name, _ in uploads.photos) == [f"photos/{n}" for n in ("a/b.png", "abs.png", "b/b.png", "evil.png")]
    assert all(p.resolve().is_relative_to(target) and p.read_bytes() == png() for _, p in uploads.photos)
    assert uploads.captions == [("captions.csv", b"image,caption\nb.png,green")]
    assert uploads.failed == []


def test_a_zip_that_unpacks_to_too_much_is_cut(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("app.visitors.uploads.MAX_UNPACKED_BYTES", 3_000_000)
    bomb = pack(tmp_path / "bomb.zip", {f"{i}.png": bytes(1_000_000) for i in range(10)})
    uploads = sort_uploads([bomb], tmp_path / "unpacked")
    assert len(uploads.photos) == 3
    assert "rest was left out" in uploads.failed[0][1]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"no zip at all"])
def test_a_damaged_zip_is_reported_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.zip"
    path.write_bytes(content)
    uploads = sort_uploads([path], tmp_path / "unpacked")
    assert uploads.photos == []
    assert uploads.failed[0][0] == "broken.zip"


def test_what_fails_does_not_stop_the_rest(engine: SGLora, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_bytes(b"image,caption\nx.png")
    (tmp_path / "good.csv").write_text("image,caption\na.png,one thing\nb.png,another thing\n")
    paths = [*blurred(tmp_path, ["a.png", "b.png"], 5), tmp_path / "bad.csv", tmp_path / "good.csv"]
    session = Session()
    done = actions.add_uploads(engine, session, [str(p) for p in paths])
    assert len(done.report.added) == 2
    assert [name for name, _ in done.failed] == ["bad.csv"]
    assert done.remarks == (texts.CAPTIONS_SET.format(n=2, total=2),)


# Rendering

NASTY = "<img src=x onerror=alert(1)> ${1+1} {{x}} \"'&"


def test_what_visitors_write_is_escaped(engine: SGLora) -> None:
    adaptation = engine.adapt(AdapterRequest(NASTY))
    hit = Hit("k", NASTY, 0.5, 1)
    columns = tuple(Column(t, "", Ranking((hit,), 1), {"k": 0}) for t in ("Zero-shot", "SG-LoRA"))
    photos, album = (Photo("k", NASTY, b"jpeg", (NASTY,)),), Album()
    pages = [
        page_html.routing(engine, adaptation.routing, adaptation.fit),
        page_html.routing_details(engine, adaptation.routing),
        page_html.adapter(engine.repository, adaptation),
        page_html.adapter_details(adaptation, {}, nearest_distances(engine.repository, adaptation.routing, adaptation.full)),
        results_html.comparison(Comparison(NASTY, columns, Question("words", NASTY), photos=photos), album, Shown(10)),
        results_html.comparison(Comparison(NASTY, columns, Question("photo", "k"), photos=photos), album, Shown(10)),
        page_html.report([NASTY], None, [(NASTY, NASTY)]),
        page_html.note(NASTY),
    ]
    for page in pages:
        assert "<img src=x" not in page
        assert 'onerror=alert(1)> ${1+1} {{x}} "' not in page


def test_only_what_moved_is_shown_when_asked_for() -> None:
    def ranking(order: str) -> Ranking:
        return Ranking(tuple(Hit(key, key, 1.0, rank) for rank, key in enumerate(order, 1)), len(order))

    still, moved = ranking("abc"), ranking("acb")
    columns = (Column("Zero-shot", "", still, {}), Column("SG-LoRA", "", moved, {"a": 0, "b": -1, "c": 1}))
    page = results_html.comparison(Comparison("q", columns, Question("photo", "")), Album(), Shown(10, True))
    assert 'data-key="a"' not in page
    assert page.count('data-key="b"') == page.count('data-key="c"') == 2
    assert "moved up 1 place" in page
    same = (Column("Zero-shot", "", still, {}), Column("SG-LoRA", "", still, dict.fromkeys("abc", 0)))
    assert texts.NO_CHANGE in results_html.comparison(Comparison("q", same, Question("photo", "")), Album(), Shown(10, True))


def test_experts_are_found_by_their_words(engine: SGLora) -> None:
    experts = engine.repository.experts
    rows = experts_html.table(experts)["data"]
    assert len(rows) == len(experts)
    assert all(len(row) == len(experts_html.headers()) for row in rows)
    first = experts[0]
    found = experts_html.table(experts, f"{first.group} {first.name}".upper())["data"]
    assert first.name in [row[0] for row in found]
    assert experts_html.table(experts, "no such expert anywhere")["data"] == []


def test_progress_names_only_columns_that_are_ranked_again(engine: SGLora, tmp_path: Path) -> None:
    session, told = Session(album=Album(), merge=True), []
    actions.add_uploads(engine, session, [str(p) for p in blurred(tmp_path, ["a.png", "b.png"], 9)])
    actions.generate(engine, session, actions.request(SENTENCE, 4, 0.1, 0, 1.0))
    titles = [c.title for c in actions.ask(engine, session, Question.words("water"), lambda *step: told.append(step)).columns]
    assert told == [(i, 3, title) for i, title in enumerate(titles)]
    told.clear()
    actions.generate(engine, session, actions.request(SENTENCE, 4, 0.1, 1, 1.0))
    actions.ask_again(engine, session, lambda *step: told.append(step))
    assert told == [(2, 3, titles[2])], "a new seed changes only the column of the generated LoRA"


def test_clearing_an_album_keeps_the_session(engine: SGLora, tmp_path: Path) -> None:
    session = Session(album=Album())
    actions.add_uploads(engine, session, [str(p) for p in blurred(tmp_path, ["a.png", "b.png"], 9)])
    actions.generate(engine, session, actions.request(SENTENCE, 4, 0.1, 0, 1.0))
    actions.ask(engine, session, Question.words("water"))
    session.album.gallery(engine).clear()
    for within in (Within(), Within(folder="trip")):
        session.question = Question.words("water", within)
        assert actions.ask_again(engine, session) is None
        assert session.comparison is None
        assert session.adaptation is not None


def test_photos_that_wait_for_their_turn_count_as_being_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page polls the progress of an upload. It must not stop before the upload's turn comes."""
    album = Album()
    assert not album.adding and texts.ADDING not in page_html.gallery_line(album)
    album.await_photos()
    assert album.adding and texts.ADDING in page_html.gallery_line(album)
    with album.photos_change():
        album.note_progress(1, 4)
        assert "1 of 4 photos indexed" in page_html.gallery_line(album)
    album.await_photos(False)
    assert not album.adding
    album.await_photos()
    later = time.monotonic() + AWAITED_SECONDS
    # Patch only this module's clock: with a global patch, the server that runs beside this test would sleep until then.
    monkeypatch.setattr(album_module, "time", SimpleNamespace(monotonic=lambda: later))
    assert not album.adding, "the album must stop waiting for an upload that never comes"


def test_a_question_before_the_first_photo_gets_a_message_and_then_its_answer(engine: SGLora, tmp_path: Path) -> None:
    session = Session()
    session.album.await_photos()
    for question in (Question("photo", "", file=str(blurred(tmp_path, ["b.png"], 9)[0])), Question.words("water")):
        with pytest.raises(GalleryError, match="are being added"):
            actions.ask(engine, session, question)
    assert actions.ask_again(engine, session) is None
    session.album.await_photos(False)
    with pytest.raises(GalleryError, match="no photos yet"):
        actions.ask(engine, session, Question.words("water"))
    session.album.await_photos()
    session.album.gallery(engine).add(blurred(tmp_path, ["a.png"], 9))
    answer = actions.ask_again(engine, session)
    assert answer is not None and answer.asked.what == "water" and answer.photos, "must search the photos that are there"


def test_albums_are_counted_while_others_come() -> None:
    """Every event counts all albums, and new visitors may arrive meanwhile. This race can make a search fail."""
    done, stay, guests = threading.Event(), [Session() for _ in range(20)], []

    def come_and_go() -> None:
        while not done.is_set():
            guests.append(Session())
            del guests[:-50]

    before, visitor = sys.getswitchinterval(), threading.Thread(target=come_and_go)
    sys.setswitchinterval(1e-6)
    try:
        visitor.start()
        for _ in range(300):
            assert {session.album.token for session in stay} <= {album.token for album in open_albums()}
    finally:
        done.set()
        visitor.join()
        sys.setswitchinterval(before)


# The answer on the page


def captioned(engine: SGLora, folder: Path, count: int = 8) -> Session:
    session, names = Session(), [f"{i}.png" for i in range(count)]
    actions.add_uploads(engine, session, [str(p) for p in blurred(folder, names, 7)])
    actions.set_captions(engine, session, {name: [f"the photo number {i}"] for i, name in enumerate(names)})
    return session


def test_without_a_sentence_the_shared_part_answers_beside_zero_shot(engine: SGLora, tmp_path: Path) -> None:
    session = captioned(engine, tmp_path)
    actions.adapt_to(engine, session, None)
    columns = actions.ask(engine, session, Question.words("water")).columns
    shared = Adapter.of(engine.backbone.shared, engine.usual_strength)
    for column, adapter in zip(columns, (ZERO_SHOT, shared), strict=True):
        expected = session.album.gallery(engine).text_to_image("water", adapter, None)
        assert [h.key for h in column.ranking.hits] == [h.key for h in expected.hits]
    actions.adapt_to(engine, session, AdapterRequest(SENTENCE))
    assert len(actions.ask_again(engine, session).columns) == 2


def test_the_right_answers_are_those_that_captions_name(engine: SGLora, tmp_path: Path) -> None:
    session = captioned(engine, tmp_path)
    photo = session.album.photos[3]
    made = actions.ask(engine, session, Question.words("  The photo  number 3. "))
    assert made.right == {photo.id}
    places = [next(h.rank for h in column.ranking.hits if h.key == photo.id) for column in made.columns]
    page = results_html.comparison(made, session.album, Shown(2))
    assert page.count('class="sg-hit sg-right"') == len(made.columns), "the right photo is shown at any rank"
    assert " → ".join(map(str, places)) in page
    assert actions.ask(engine, session, Question.words("something else")).right == frozenset()
    asked = actions.ask(engine, session, Question.photo(photo.id))
    assert [h.label for h in asked.columns[0].ranking.hits if h.key in asked.right] == ["the photo number 3"]


def test_photos_that_trained_an_expert_are_left_out_of_recall(engine: SGLora, tmp_path: Path) -> None:
    session = captioned(engine, tmp_path)
    actions.adapt_to(engine, session, AdapterRequest(SENTENCE))
    routed = engine.repository.experts[int(session.adaptation.routing.chosen[0])].name
    trained = frozenset(p.id for p in session.album.photos[:3])
    session.album.trained_on = {routed: trained, "takes no part": frozenset(p.id for p in session.album.photos)}
    session.merge = True
    actions.ask(engine, session, Question.words("water"))
    made = actions.measure(engine, session)
    assert made.left_out == trained
    assert [column.hits["t2i"].total for column in made.columns] == [5, 5, 5]
    others = Gallery(engine.backbone)
    others.add(sorted(tmp_path.glob("*.png"))[3:])
    others.set_captions({f"{i}.png": [f"the photo number {i}"] for i in range(3, 8)})
    assert made.columns[0].hits["t2i"].ranks.tolist() == others.hits()["t2i"].ranks.tolist()
    assert texts.LEFT_OUT.format(n=3) in results_html.recalls(made)


def test_thumbs_count_what_the_visitor_looked_for(engine: SGLora, tmp_path: Path) -> None:
    session = captioned(engine, tmp_path, 12)
    zero_shot, shared = (c.ranking.hits for c in actions.ask(engine, session, Question.words("water")).columns)
    ranked, ten = zero_shot, {hit.key for hit in shared[:10]}
    for place, right in ((0, True), (11, True), (3, False)):
        actions.mark(engine, session, ranked[place].key, right)
    actions.mark(engine, session, "no such photo", True)
    assert (session.marked.questions, session.marked.photos, session.marked.among_ten) == (
        1,
        2,
        {texts.ZERO_SHOT: 1, texts.SHARED: len(ten & {ranked[0].key, ranked[11].key})},
    )
    actions.mark(engine, session, ranked[11].key, True)  # a second click removes the mark
    among = {texts.ZERO_SHOT: 1, texts.SHARED: len(ten & {ranked[0].key})}
    assert (session.marked.photos, session.marked.among_ten) == (1, among)
    # A reload restores the marks and the question.
    again = Session.resume(session.album.token)
    actions.ask_again(engine, again)
    assert (again.marked, again.comparison.asked) == (session.marked, session.comparison.asked)


@pytest.mark.slow
def test_samples_never_mix_with_photos_of_ones_own(engine: SGLora, tmp_path: Path) -> None:
    session = captioned(engine, tmp_path)
    own = session.album.photos
    actions.add_samples(engine, session)
    assert not {p.id for p in own} & {p.id for p in session.album.photos}
    assert (session.album.aside, session.album.shows_samples) == (len(own), True)
    actions.add_samples(engine, session)
    assert session.album.aside == len(own), "adding the samples again must set nothing else aside"
    session.album.take_back(engine)
    assert (session.album.photos, session.album.aside) == (own, 0)
    assert session.album.original(own[0]).is_file()
    # Photos added while the samples are shown replace them. The photos that were set aside can still come back.
    actions.add_samples(engine, session)
    (more,) = blurred(tmp_path / "more", ["more.png"], 3)
    done = actions.add_uploads(engine, session, [str(more)])
    assert (len(session.album.photos), session.album.aside, done.remarks) == (1, len(own), (texts.SAMPLES_GONE,))
    session.album.take_back(engine)
    assert (session.album.photos, session.album.aside) == (own, 1)


def test_a_removed_photo_counts_as_memory_and_one_that_is_gone_is_not_brought_back(engine: SGLora, tmp_path: Path) -> None:
    album = captioned(engine, tmp_path, 3).album
    photos = album.photos
    entries = sum(entry.memory for entry in album.gallery(engine)._contents.entries.values())
    assert entries > sum(len(photo.thumbnail) for photo in photos) > 0
    for photo in photos:
        album.remove(engine, photo.id)
    assert album.photos == () and album.memory >= entries
    album.remove(engine, photos[0].id)  # a second tab may still show it
    assert album.aside == 3
    album.take_back(engine)
    assert album.photos == photos and album.aside == 0


def test_marks_of_the_latest_questions_are_kept(engine: SGLora, tmp_path: Path) -> None:
    session = captioned(engine, tmp_path, 2)
    photo = session.album.photos[0].id
    for number in range(MARKED_QUESTIONS + 2):
        actions.ask(engine, session, Question.words(f"something number {number}"))
        actions.mark(engine, session, photo, True)
    assert session.marked.photos == session.marked.questions == MARKED_QUESTIONS
    assert next(question.what for question in session.marks) == "something number 2"


def test_captions_for_other_photos_say_which_names_they_use(engine: SGLora, tmp_path: Path) -> None:
    session = captioned(engine, tmp_path, 2)
    words = actions.set_captions(engine, session, {"elsewhere.jpg": ["a dog"]})
    assert words == texts.CAPTIONS_NO_PHOTO.format(name="elsewhere.jpg", photo="0.png")
    assert len(actions.set_captions(engine, session, {"x" * 100_000: ["a dog"]})) < 500


def test_the_header_says_what_the_shipped_result_says(tmp_path: Path) -> None:
    file, found = tmp_path / "known.json", {"zero-shot": 23.7, "one-lora": 36.7, "sg-lora": 48.9}
    assert page_html.measured(file) == ""
    sides = {name: {"mean": {"R@1": value}} for name, value in found.items()}
    file.write_text(json.dumps({"groups": {texts.MEASURED_GROUP: {"methods": sides}}}))
    assert texts.MEASURED.format(before=24, one=37, after=49) in page_html.measured(file)
