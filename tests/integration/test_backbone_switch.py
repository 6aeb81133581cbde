"""A new backbone on the page: the choice, photos indexed again, what stays with each backbone, and effects on others.

Each repository has random experts on a random open_clip model, in its own folder. The page's default is the shipped one.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import torch
from app_process import running, visit
from made_up_photos import blurred
from page_state import box, column, settles
from playwright.sync_api import Browser, Page, expect
from repositories import EXPERTS, make_repository

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from app.visitors.album import rest, watched
from app.visitors.question import Question
from app.visitors.session import Session

from app import actions, expert_actions, texts
from app.engines import DEFAULT, Models, found_repositories
from app.page import Studio
from core.backbones import load_backbone
from core.backbones.peft_format import CONFIG_FILE, WEIGHTS_FILE, save_peft
from core.cli.parser import build_parser
from core.common.errors import AdapterError, BackboneError, GalleryError, RepositoryError
from core.common.paths import EXPERTS as SHIPPED
from core.common.paths import GENERATOR_FILE
from core.experts.files import save_repository
from core.experts.load import FoundRepository, load_engine
from core.experts.own import save_zip
from core.retrieval.gallery import ZERO_SHOT, Adapter, Gallery
from core.sglora.engine import SGLora
from core.sglora.request import DEFAULT_WEIGHT, AdapterRequest

SENTENCE, QUERY = "photos of boats", "something red"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("others")
    for seed in (1, 2):
        make_repository(made, seed)
    return made


@pytest.fixture(scope="module")
def others(folder: Path) -> list[FoundRepository]:
    return besides_shipped([folder])


def besides_shipped(given: list[Path]) -> list[FoundRepository]:
    """The repositories found in addition to the embedded backbone's experts of photos, which ship with the app."""
    return [r for r in found_repositories(given) if r.folder.parent != SHIPPED]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> SGLora:
    """The default engine: a small one instead of the shipped one."""
    return FoundRepository.read(make_repository(tmp_path_factory.mktemp("home"), 0)).load()


@pytest.fixture
def models(engine: SGLora, others: list[FoundRepository]) -> Models:
    return Models(lambda: engine, others, watched, rest)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return blurred(tmp_path_factory.mktemp("photos"), [f"{i}.png" for i in range(6)], 2)


def visitor(models: Models, photos: list[Path] = ()) -> Session:
    session = Session(merge=True)
    session.album.keeps_files = True
    session.album.tabs.add(f"tab {id(session)}")
    if photos:
        actions.add_uploads(models.get(), session, [str(p) for p in photos])
    return session


def chosen(models: Models) -> list[str]:
    return list(models.repositories)


# Found


def test_repositories_are_found_with_their_command_line(folder: Path, others: list[FoundRepository]) -> None:
    assert [r.folder for r in others] == [folder / "repository-1", folder / "repository-2"]
    assert besides_shipped([folder / "repository-2", folder]) == [others[1], others[0]], "each repository once"
    first = others[0]
    assert first.name == "model-1, last 2 blocks (repository-1)"
    line = shlex.join(["adapt", SENTENCE, "--out", "x", *first.options])
    parsed = build_parser().parse_args(shlex.split(line))
    assert (parsed.experts, parsed.backbone, parsed.adapt_blocks) == (first.folder, f"local-dir:{folder / 'model-1'}", 2)
    with pytest.raises(RepositoryError, match=r"No expert repository in .*nowhere"):
        found_repositories([folder / "nowhere"])
    (photos,) = found_repositories([])
    assert photos.name == "embedded, photos" and photos.options[:2] == ("--experts", "experts/embedded-photos"), "it ships, too"


def test_one_repository_is_no_choice(engine: SGLora) -> None:
    studio = Studio(Models(lambda: engine))
    with gr.Blocks() as page:
        studio.build(page)
    assert studio.switch is None
    assert "backbone" not in {block.elem_id for block in page.blocks.values() if hasattr(block, "elem_id")}


# Photos


def test_switching_indexes_photos_again(models: Models, photos: list[Path]) -> None:
    session, name = visitor(models, photos), chosen(models)[0]
    album = session.album
    actions.set_captions(models.get(), session, {"0.png": ["a boat"], "3.png": ["a kite"]})
    before, steps = album.photos, []
    actions.generate(models.get(), session, actions.request(SENTENCE, 2, 0.1, 0, 1.0))
    shipped = actions.ask(models.get(), session, Question.words(QUERY))
    other = models.get(name)
    done = album.switch(name, other, lambda *step: steps.append(step))
    assert (done.photos, done.lost, done.before, steps[-1]) == (6, (), DEFAULT, (6, 6))
    assert album.photos == before, "names, captions and order must stay"

    again = actions.ask_again(other, session)
    expected = Gallery(other.backbone)
    expected.add(photos)
    adaptation = other.adapt(AdapterRequest(SENTENCE, 2, 0.1, 0, 1.0))
    adapters = (ZERO_SHOT, Adapter.of(other.repository.merged(adaptation.routing)), Adapter.of(adaptation.lora))
    for found, adapter in zip(again.columns, adapters, strict=True):
        hits = expected.text_to_image(QUERY, adapter, None).hits
        assert [(h.key, h.rank) for h in found.ranking.hits] == [(h.key, h.rank) for h in hits]
        assert [h.score for h in found.ranking.hits] == pytest.approx([h.score for h in hits], abs=1e-5)

    album.switch(DEFAULT, models.get())
    back = actions.ask_again(models.get(), session)
    for one, two in zip(shipped.columns, back.columns, strict=True):
        assert [(h.key, h.score) for h in one.ranking.hits] == [(h.key, h.score) for h in two.ranking.hits]


def test_files_go_with_their_photos(models: Models, photos: list[Path], tmp_path: Path) -> None:
    copies = [tmp_path / p.name for p in photos]
    for source, target in zip(photos, copies, strict=True):
        target.write_bytes(source.read_bytes())
    session = visitor(models, copies)
    album, kept = session.album, session.album.folder / "photos"
    for copy in copies:  # the server's cache of uploads also deletes them
        copy.unlink()
    album.gallery(models.get()).remove([album.photos[0].id])
    album.delete_unused_files()
    assert len(list(kept.iterdir())) == 5
    next(kept.iterdir()).unlink()
    done = album.switch(chosen(models)[0], models.get(chosen(models)[0]))
    assert (done.photos, len(done.lost)) == (4, 1)
    assert done.lost[0].name not in [p.name for p in album.photos]
    plain = Session()
    actions.add_uploads(models.get(), plain, [str(p) for p in photos])
    assert not (plain.album.folder / "photos").exists(), "files are kept only if there is a choice"


def test_nothing_of_one_backbone_is_used_with_another(models: Models, photos: list[Path], tmp_path: Path) -> None:
    session, name = visitor(models, photos), chosen(models)[0]
    shipped, other = models.get(), models.get(name)
    album = session.album
    lora = shipped.adapt(AdapterRequest(SENTENCE)).lora
    save_peft(lora, tmp_path, shipped.backbone.fingerprint, shipped.backbone.name, {})
    files = [str(tmp_path / CONFIG_FILE), str(tmp_path / WEIGHTS_FILE)]
    expert_actions.import_files(shipped, session, files, "photos of my marbles")
    (tmp_path / "experts.zip").write_bytes(save_zip(album.own_experts(shipped)))

    done = album.switch(name, other)
    assert done.waiting == ("my marbles",)
    assert album.engine(other) is other, "no own expert may take part"
    with pytest.raises(AdapterError, match=f"another backbone .*{shipped.backbone.fingerprint}.*{other.backbone.fingerprint}"):
        expert_actions.import_files(other, session, files, SENTENCE)
    with pytest.raises(RepositoryError, match="another backbone"):
        expert_actions.load_own_experts(other, session, str(tmp_path / "experts.zip"))
    # An event that began before the switch must get neither photos nor experts of the other backbone.
    for ask in (album.gallery, album.own_experts, album.engine):
        with pytest.raises(GalleryError, match="switched meanwhile"):
            ask(shipped)

    album.switch(DEFAULT, shipped)
    mine = album.engine(shipped)
    assert mine.route("photos of my marbles").chosen[0] == len(shipped.repository)


def test_photos_are_not_added_while_they_are_indexed_again(models: Models, photos: list[Path]) -> None:
    session, name, refused = visitor(models, photos[:3]), chosen(models)[0], []

    def meanwhile(done: int, total: int) -> None:
        if not refused:
            with pytest.raises(GalleryError, match="being added or indexed"):
                actions.add_uploads(models.get(), session, [str(p) for p in photos])
            session.album.gallery(models.get()).remove([session.album.photos[0].id])
            refused.append(True)

    done = session.album.switch(name, models.get(name), meanwhile)
    assert refused and done.photos == 2
    actions.add_uploads(models.get(name), session, [str(p) for p in photos])
    assert len(session.album.photos) == 6


# Memory


def test_one_other_engine_at_a_time(models: Models, photos: list[Path]) -> None:
    first, second = chosen(models)
    one, two = visitor(models, photos), visitor(models)
    one.album.switch(first, models.get(first))
    assert models.get(first) is models.get(first), "the model must be loaded only once"
    with pytest.raises(BackboneError, match="in use by others"):
        models.get(second)
    # No tab shows the first model now. It makes room; its photos wait and come back with it.
    kept, vectors = one.album.photos, one.album.gallery(models.get(first)).embeddings()
    one.album.tabs.clear()
    one.album.used -= 3600
    two.album.switch(second, models.get(second))
    assert one.album.photos == kept and one.album._gallery is None
    two.album.switch(DEFAULT, models.get())
    again = one.album.gallery(models.get(first))
    assert again.photos == kept
    torch.testing.assert_close(again.embeddings(), vectors)


def test_a_failed_backbone_says_why_and_can_be_tried_again(engine: SGLora, folder: Path, tmp_path: Path) -> None:
    broken = make_repository(tmp_path, 3)
    (generator := broken / GENERATOR_FILE).rename(tmp_path / "away")
    models = Models(lambda: engine, besides_shipped([broken]), watched, rest)
    (name,) = chosen(models)
    with pytest.raises(RepositoryError, match=r"generator.* is missing"):
        models.get(name)
    (tmp_path / "away").rename(generator)
    assert len(models.get(name).repository) == len(EXPERTS)
    with pytest.raises(BackboneError, match="no repository called “nothing”: choose one of “embedded”, "):
        models.get("nothing")


def test_experts_of_a_loaded_backbone_share_it(engine: SGLora, tmp_path: Path) -> None:
    save_repository(engine.repository.subset(range(2)), tmp_path / "few")
    engine.generator.save(tmp_path / "few" / GENERATOR_FILE)
    models = Models(lambda: engine, besides_shipped([tmp_path / "few"]), watched, rest)
    (name,) = chosen(models)
    assert name == "model-0, last 2 blocks (few)"
    assert models.get(name).backbone is engine.backbone
    assert len(models.get(name).repository) == 2


# Page


@pytest.fixture(scope="module")
def url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    where = tmp_path_factory.mktemp("app")
    with running(where, "--experts", str(folder)) as (address, _):
        yield address
        assert "Traceback" not in (where / "log.txt").read_text()


def test_a_switch_does_not_change_pages_of_other_visitors(browser: Browser, url: str, folder: Path, photos: list[Path]) -> None:
    page, other = (visit(browser, url, viewport={"width": 390, "height": 800})[0] for _ in range(2))
    page.set_input_files("#upload input[type=file]", photos)
    expect(page.locator("#fill")).to_contain_text("Photos: 6 of")
    box(page, "description").fill(SENTENCE)
    box(page, "query").fill(QUERY)
    page.click("#search")
    expect(page.locator("#results .sg-hit")).to_have_count(12)
    shipped = column(page, texts.SG_LORA)
    assert len(shipped) == 6

    choose(page, "model-1")
    expect(page.locator("#switched")).to_contain_text("6 photos indexed again")
    expect(page.locator("#status")).to_contain_text(f"{len(EXPERTS)} experts")
    expect(page.locator("#routing")).to_contain_text("boats")
    engine = load_engine(load_backbone(f"local-dir:{folder / 'model-1'}", adapt_blocks=2), folder / "repository-1")
    gallery, adaptation = Gallery(engine.backbone), engine.adapt(AdapterRequest(SENTENCE))
    gallery.add(photos)
    expected = gallery.text_to_image(QUERY, Adapter.of(adaptation.lora), 10)
    answer = alike((h.rank, h.label, h.score) for h in expected.hits)
    assert shipped != answer
    settles(lambda: column(page, texts.SG_LORA), answer)
    page.click("#more > button")
    command, strength = page.locator("#command textarea"), page.locator("#strength input[type=number]")
    expect(command).to_have_value(re.compile(re.escape(f"--experts {folder / 'repository-1'} --backbone local-dir:")))
    expect(strength).to_have_value("1")
    expect(command).to_have_value(re.compile(r" --strength 1 "))

    # The other visitor still has the shipped experts. A reload keeps each visitor's choice.
    other.click("#folded button")
    other.locator("#description textarea").fill(SENTENCE)
    expect(other.locator("#routing")).not_to_contain_text("kites")
    # There is no room for a second model. The page says so once, and the choice does not change.
    choose(other, "model-2")
    toast = other.get_by_test_id("toast-body")
    expect(toast).to_contain_text("is in use by others")
    expect(other.locator("#backbone input")).to_have_value(texts.BACKBONE_SHIPPED.format(name=DEFAULT))
    other.click("#generate")  # its answer comes after those of all earlier events
    expect(other.locator("#download")).to_be_enabled()
    expect(toast).to_have_count(1)
    expect(toast).not_to_contain_text("(2)")
    page.reload()
    expect(page.locator("#status")).to_contain_text(f"{len(EXPERTS)} experts")
    expect(page.locator("#backbone input")).to_have_value(model_choice("model-1"))

    # Switch back to the shipped backbone.
    choose(page, texts.BACKBONE_SHIPPED.format(name=DEFAULT))
    expect(page.locator("#switched")).to_contain_text("6 photos indexed again")
    page.click("#more > button")
    expect(strength).to_have_value(f"{DEFAULT_WEIGHT:g}")
    page.click("#folded button")
    box(page, "description").fill(SENTENCE)
    box(page, "query").fill(QUERY)
    page.click("#search")
    expect(page.locator("#results .sg-hit")).to_have_count(12)
    settles(lambda: column(page, texts.SG_LORA), alike(shipped))


def alike(hits: Iterable[tuple[int, str, float]]) -> list[tuple[int, str, Any]]:
    """The same photos in the same order. Scores may differ by rounding, because photos were indexed in other batches."""
    return [(rank, label, pytest.approx(score, abs=0.002)) for rank, label, score in hits]


def model_choice(model: str) -> str:
    return texts.BACKBONE_CHOICE.format(name=f"{model}, last 2 blocks (repository-1)", experts=len(EXPERTS))


def choose(page: Page, words: str) -> None:
    page.locator("#backbone input").click()
    page.locator("#backbone").get_by_role("option", name=words).click()
