"""Taught names on the page and in the API. They take part in all questions of their visitor, and of no other visitor."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from app_visitors import client_of, serve_page
from made_up_photos import blurred
from PIL import Image, ImageDraw

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from app.visitors.question import Question, Within
from app.visitors.session import Session, leave
from gradio_client import handle_file
from gradio_client.exceptions import AppError

from app import actions, name_actions, texts
from app.engines import Models
from app.page import build, launch_options
from app.photo_libraries import PhotoLibraries
from app.views import results_html
from core.backbones.base import last_linear
from core.backbones.peft_format import load_peft
from core.common.errors import DescriptionError, GalleryError, RepositoryError
from core.names.file import save_names
from core.names.teach import MAX_NAMES, TaughtNames
from core.retrieval.gallery import Gallery
from core.retrieval.indexing import index_folders
from core.retrieval.library import PhotoLibrary
from core.sglora.engine import SGLora
from core.sglora.request import DEFAULT_WEIGHT, AdapterRequest

SENTENCE = "photos of boats"


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


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six photos of crossed red lines (the "wugs"), and ten photos of blurred colours."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(6):
        image = Image.new("RGB", (240, 240), (200 + 5 * number, 210, 190))
        for i in range(0, 240, 40):
            ImageDraw.Draw(image).line((i, 0, 240 - i, 240), (150, 20, 20 + 5 * number), 12)
        image.save(folder / f"wug {number}.png")
    blurred(folder, [f"other {number}.png" for number in range(10)], 7)
    return sorted(folder.iterdir())


@pytest.fixture
def session(engine: SGLora, files: list[Path]) -> Session:
    made = Session()
    actions.add_uploads(engine, made, [str(path) for path in files])
    return made


def wugs(session: Session, n: int = 3) -> list[str]:
    return [photo.id for photo in session.album.photos if photo.name.startswith("wug")][:n]


def first(session: Session, column: int = -1, n: int = 6) -> list[str]:
    assert session.comparison is not None
    return [hit.label[:3] for hit in session.comparison.columns[column].ranking.hits[:n]]


def test_a_taught_name_finds_its_photos_at_once(engine: SGLora, session: Session) -> None:
    before = actions.ask(engine, session, Question.words("a wug"))
    assert [column.title for column in before.columns] == [texts.ZERO_SHOT, texts.SHARED] and before.names == ()
    assert first(session) != ["wug"] * 6

    name_actions.teach(engine, session, "wug", wugs(session))
    actions.ask_again(engine, session)

    after = session.comparison
    assert after is not None
    assert [column.title for column in after.columns] == [texts.ZERO_SHOT, texts.SHARED]
    assert "1 taught" in after.columns[1].note
    assert after.columns[0].ranking == before.columns[0].ranking
    assert first(session) == ["wug"] * 6  # also those that did not teach the name
    assert after.names == (("wug", 3),)
    shown = results_html.comparison(after, session.album, results_html.Shown(6))
    assert "wug (3 photos): a name that you taught." in shown


def test_in_a_sentence_the_photos_of_a_name_count_too(engine: SGLora, session: Session) -> None:
    """By hand: the query is the text plus 0.6 n / (n + 1) of the mean of the name's n photos. Zero-shot uses the text alone."""
    name_actions.teach(engine, session, "wug", wugs(session))
    answer = actions.ask(engine, session, Question.words("a wug on the beach at night"))
    gallery, names, scores = session.album.gallery(engine), session.album.names(engine), torch.zeros(16)
    prefixes, backbone = gallery.prefixes([photo.id for photo in gallery.photos]), engine.backbone
    text = backbone.text_prefix(["a wug on the beach at night"])
    for share, lora in ((1 - DEFAULT_WEIGHT, None), (DEFAULT_WEIGHT, backbone.shared)):
        own = backbone.suffix(names.entries[0].photos, lora).mean(0)
        question = F.normalize(backbone.text_suffix(text, names.on(lora))[0] + 0.6 * 3 / 4 * own, dim=-1)
        scores += share * backbone.suffix(prefixes, lora) @ question
    ranked = {hit.key: hit.score for hit in answer.columns[-1].ranking.hits}
    assert [ranked[photo.id] for photo in gallery.photos] == pytest.approx(scores.tolist(), abs=1e-3)
    plain = backbone.suffix(prefixes) @ backbone.text_suffix(text)[0]
    ranked = {hit.key: hit.score for hit in answer.columns[0].ranking.hits}
    assert [ranked[photo.id] for photo in gallery.photos] == pytest.approx(plain.tolist(), abs=1e-3)


def test_rankings_are_those_of_the_adapter_with_the_name(engine: SGLora, session: Session) -> None:
    """By hand: cosines under zero-shot plus name and under the generated LoRA plus name, mixed by the weight."""
    generated = actions.generate(engine, session, actions.request(SENTENCE, 4, 0.1, 0, 0.6))
    name_actions.teach(engine, session, "wug", wugs(session))
    answer = actions.ask(engine, session, Question.words("two wugs on a boat"))
    gallery, names, scores = session.album.gallery(engine), session.album.names(engine), torch.zeros(16)
    prefixes = gallery.prefixes([photo.id for photo in gallery.photos])
    for share, lora in ((0.4, None), (0.6, generated.lora)):
        text = engine.backbone.encode_text(["two wugs on a boat"], names.on(lora))[0]
        scores += share * engine.backbone.suffix(prefixes, lora) @ text
    order = [gallery.photos[i].id for i in scores.argsort(descending=True).tolist()]
    assert [hit.key for hit in answer.columns[-1].ranking.hits] == order
    assert [hit.score for hit in answer.columns[-1].ranking.hits] == pytest.approx(
        sorted(scores.tolist(), reverse=True), abs=1e-4
    )
    assert answer.columns[-1].title == texts.SG_LORA and "1 taught" in answer.columns[-1].note
    assert answer.names == ()  # "wugs" is not the taught word


def test_at_strength_zero_the_names_remain(engine: SGLora, session: Session) -> None:
    actions.generate(engine, session, actions.request(SENTENCE, 4, 0.1, 0, 0.0))
    name_actions.teach(engine, session, "wug", wugs(session))
    actions.ask(engine, session, Question.words("wug"))
    assert first(session) == ["wug"] * 6


def test_names_survive_a_reload_and_are_private(engine: SGLora, session: Session) -> None:
    name_actions.teach(engine, session, "wug", wugs(session))
    again, other = Session.resume(session.album.token), Session.resume(None)
    assert again.album.taught == (("wug", 3),) and other.album.taught == ()
    actions.ask(engine, again, Question.words("wug"))
    assert first(again) == ["wug"] * 6
    assert other.worth == 0 and again.worth == 2
    again.forget()
    leave(again), leave(session)
    assert session.album.taught == () and Session.resume(session.album.token).album.taught == ()


def test_names_survive_the_removal_of_their_photos(engine: SGLora, session: Session) -> None:
    name_actions.teach(engine, session, "wug", wugs(session, 2))
    session.album.gallery(engine).remove(wugs(session, 2))
    actions.ask(engine, session, Question.words("wug"))
    assert first(session, n=4) == ["wug"] * 4


def test_names_can_be_renamed_given_photos_and_taken_back(engine: SGLora, session: Session) -> None:
    name_actions.teach(engine, session, "wug", wugs(session, 1))
    name_actions.teach(engine, session, "WUG", wugs(session, 3))
    assert session.album.taught == (("wug", 3),)
    session.album.change_names(engine, lambda names: names.rename("wug", "dax"))
    actions.ask(engine, session, Question.words("dax"))
    assert first(session) == ["wug"] * 6 and session.comparison.names == (("dax", 3),)
    session.album.change_names(engine, lambda names: names.remove("dax"))
    actions.ask_again(engine, session)
    assert [column.title for column in session.comparison.columns] == [texts.ZERO_SHOT, texts.SHARED]
    assert first(session) != ["wug"] * 6 and session.comparison.names == ()
    assert session.album.taught == ()


def test_a_name_from_marks(engine: SGLora, session: Session) -> None:
    with pytest.raises(GalleryError, match="tick the right photos"):
        name_actions.from_marks(engine, session)
    actions.ask(engine, session, Question.words("my thing"))
    right, wrong = wugs(session, 2), [p.id for p in session.album.photos if p.name.startswith("other")][:2]
    for photo in right:
        actions.mark(engine, session, photo, True)
    for photo in wrong:
        actions.mark(engine, session, photo, False)
    with_marks = name_actions.from_marks(engine, session)
    gallery, backbone = session.album.gallery(engine), engine.backbone
    mean = [F.normalize(backbone.suffix(gallery.prefixes(ids)).mean(0), dim=0) for ids in (right, wrong)]
    from core.names.teach import GAMMA, OWN_TEXT

    text = last_linear(backbone, with_marks.entries[0].texts)[1].mean(0)
    target = F.normalize(mean[0] - GAMMA * mean[1] + OWN_TEXT * F.normalize(text, dim=0), dim=0)  # Rocchio's formula
    assert torch.allclose(with_marks.entries[0].target(backbone, None, text), target, atol=1e-5)
    actions.ask_again(engine, session)
    assert first(session) == ["wug"] * 6
    assert session.marked.among_ten[texts.SHARED] == 2
    # A typed name is taught from the photos that are marked as right.
    named = name_actions.from_marks(engine, session, " blicket ").entries[-1]
    assert named.name == "blicket" and named.without is None
    assert torch.equal(named.photos, gallery.prefixes(right))


def test_names_go_into_the_download(engine: SGLora, session: Session, tmp_path: Path) -> None:
    linears = list(engine.backbone.linears.values())
    name_actions.teach(engine, session, "wug", wugs(session))
    shutil.unpack_archive(actions.write_zip(engine, session), tmp_path / "names")
    made = actions.generate(engine, session, actions.request(SENTENCE, 4, 0.1, 0, 1.0))
    shutil.unpack_archive(actions.write_zip(engine, session), tmp_path / "both")
    for folder, base in (("names", engine.backbone.shared), ("both", made.lora)):
        lora, origin = load_peft(tmp_path / folder, linears, engine.backbone.fingerprint, partly=True)
        expected = session.album.names(engine).on(base)
        words = ["a wug", "a dog"]
        assert torch.allclose(engine.backbone.encode_text(words, lora), engine.backbone.encode_text(words, expected), atol=1e-5)
        assert origin["names"] == [{"name": "wug", "photos": 3}]
        assert "Taught names: wug (3 photos)" in (tmp_path / folder / "README.md").read_text()


def test_names_as_a_file_for_another_visitor(engine: SGLora, session: Session, tmp_path: Path) -> None:
    name_actions.teach(engine, session, "wug", wugs(session))
    path = session.album.write("names.safetensors", save_names(session.album.names(engine)))
    other = Session()
    assert name_actions.load(engine, other, str(path)) == (1, [])
    assert name_actions.load(engine, other, str(path)) == (1, [])  # the same photos again
    assert other.album.taught == (("wug", 3),)
    (tmp_path / "none.safetensors").write_bytes(b"none")
    with pytest.raises(RepositoryError, match="damaged or not a file of names"):
        name_actions.load(engine, other, str(tmp_path / "none.safetensors"))
    assert other.album.taught == (("wug", 3),)


def test_of_too_many_names_in_a_file_the_first_are_loaded(engine: SGLora, session: Session) -> None:
    few = [session.album.gallery(engine).prefixes(wugs(session, 1))] * 3
    for number in range(MAX_NAMES - 2):
        session.album.change_names(engine, lambda names, number=number: names.add(f"name {number}", few[0]))
    others = TaughtNames(engine.backbone)
    for name, photos in zip(("fep", "dax", "zorp"), few, strict=True):
        others = others.add(name, photos)
    path = session.album.write("names.safetensors", save_names(others))
    loaded, failed = name_actions.load(engine, session, str(path))
    assert loaded == 2 and len(failed) == 1 and "“zorp” cannot be taught" in failed[0]
    assert [name for name, _ in session.album.taught[-2:]] == ["fep", "dax"]


def test_photos_of_a_library_teach_too(engine: SGLora, session: Session, tmp_path: Path) -> None:
    """The visitor's own photos are the wugs; the library has the others."""
    elsewhere, library = tmp_path / "photos", tmp_path / "pictures"
    files = blurred(elsewhere, [f"blob {number}.png" for number in range(3)], 11)
    index_folders(PhotoLibrary.create(library, engine.backbone), [elsewhere], engine.backbone)
    libraries = PhotoLibraries([library])
    asked = Question.words("my thing", Within(True, "pictures"))
    comparison = actions.ask(engine, session, asked, libraries=libraries)
    hits = comparison.columns[0].ranking.hits
    chosen = [hit.key for hit in hits if hit.label.startswith("blob")][:2] + wugs(session, 1)
    names = name_actions.teach(engine, session, "both", chosen)
    apart = Gallery(engine.backbone)
    apart.add([next(file for file in files if file.name == hit.label) for hit in hits if hit.key in chosen[:2]])
    expected = torch.cat([apart.prefixes(p.id for p in apart.photos), session.album.gallery(engine).prefixes(chosen[2:])])
    taught = engine.backbone.suffix(names.entries[0].photos)
    assert (taught @ engine.backbone.suffix(expected).T).max(1).values.min() > 0.999
    for key in chosen:
        actions.mark(engine, session, key, True, libraries)
    assert len(name_actions.from_marks(engine, session).entries[-1].photos) == 3


def test_marks_teach_a_question_without_the_words_that_it_excludes(engine: SGLora, session: Session) -> None:
    actions.ask(engine, session, Question.words("my thing -snow"))
    actions.mark(engine, session, wugs(session)[0], True)
    assert [entry.name for entry in name_actions.from_marks(engine, session).entries] == ["my thing"]
    assert session.name == "my thing"  # it is selected


def test_names_count_as_memory(engine: SGLora, session: Session) -> None:
    before = session.album.memory
    name_actions.teach(engine, session, "wug", wugs(session))
    expected = sum(t.nbytes for e in session.album.names(engine).entries for t in (e.photos, e.texts))
    assert session.album.memory - before == expected > 0


def test_adapters_count_as_memory_once_each(engine: SGLora, session: Session) -> None:
    """First SG-LoRA's adapter and the merge count; then also both with a name. Parts that all visitors share do not count."""
    actions.ask(engine, session, Question.words("a cat"))
    before = session.album.memory
    actions.adapt_to(engine, session, AdapterRequest("photos of cats"))
    session.merge = True
    columns = actions.ask(engine, session, Question.words("a cat")).columns
    assert [column.title for column in columns] == [texts.ZERO_SHOT, texts.MERGE, texts.SG_LORA]
    generated, merged = (sum(4 * (f.a.numel() + f.b.numel()) for f in c.adapter.lora.factors.values()) for c in columns[:0:-1])
    assert session.album.memory - before == generated + merged
    name_actions.teach(engine, session, "wug", wugs(session))
    actions.ask(engine, session, Question.words("a wug"))
    assert session.album.memory - before > 2 * generated + merged


def test_what_cannot_be_taught_changes_nothing(engine: SGLora, session: Session) -> None:
    name_actions.teach(engine, session, "wug", wugs(session))
    for call in (
        lambda: name_actions.teach(engine, session, "", wugs(session)),
        lambda: name_actions.teach(engine, session, "dax", []),
        lambda: name_actions.teach(engine, session, "dax", ["made up"]),
        lambda: session.album.change_names(engine, lambda names: names.rename("dax", "fep")),
        lambda: session.album.change_names(engine, lambda names: names.remove("dax")),
    ):
        with pytest.raises(DescriptionError):
            call()
    assert session.album.taught == (("wug", 3),)


# The endpoint


def test_teach_through_the_api(url: str, engine: SGLora, files: list[Path], tmp_path: Path) -> None:
    client, other = (client_of(url, tmp_path / n) for n in "ab")
    for each in (client, other):
        each.predict(files=[handle_file(path) for path in files], captions="", api_name="/index")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    shown = [handle_file(path) for path in (*files[-3:], broken)]

    answer = client.predict(name="wug", files=shown, api_name="/teach")

    assert answer["names"] == [{"name": "wug", "photos": 3}] and answer["remarks"] == []
    assert [each["name"] for each in answer["failed"]] == ["broken.jpg"]
    hits = client.predict(query="a wug", description=SENTENCE, api_name="/search")
    assert all(hit["name"].startswith("wug") for hit in hits["sg_lora"][:6])
    assert other.predict(query="a wug", description=SENTENCE, api_name="/search")["zero_shot"] == hits["zero_shot"]
    _, path = client.predict(description=SENTENCE, api_name="/adapt")
    shutil.unpack_archive(path, tmp_path / "adapter")
    _, origin = load_peft(
        tmp_path / "adapter", list(engine.backbone.linears.values()), engine.backbone.fingerprint, partly=True
    )
    assert origin["names"] == [{"name": "wug", "photos": 3}]

    more = client.predict(name="Wug", photos="wug 0.png\nwug 1.png", api_name="/teach")
    assert more["names"] == [{"name": "wug", "photos": 5}]
    for name, given, text in (
        ("dax", None, "“dax” has no photo"),
        ("", shown[:1], "The name is empty"),
        ("dax", [handle_file(broken)], "no readable photo"),
    ):
        with pytest.raises(AppError, match=text):
            client.predict(name=name, files=given, api_name="/teach")
    with pytest.raises(AppError, match="No photo here is called nowhere"):
        client.predict(name="dax", files=None, photos="nowhere.jpg", api_name="/teach")
    gone = client.predict(name="wug", take_back=True, api_name="/teach")
    assert gone["names"] == []
