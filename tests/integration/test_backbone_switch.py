"""A new backbone: photos are indexed again, and nothing of one is used with another.

Each repository has random experts on a random open_clip model, in its own folder. tests/browser/test_switch.py shows the page.
"""

import shlex
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest
from app_process import PATIENCE_SECONDS
from random_engines import TASKS
from recalls import ranked
from repositories import make_repository
from strangers import wait
from tiny_models import tiny_backbone

from app.actions import adding, answering, own_experts
from app.answers.question import Asked, Question
from app.languages import texts
from app.models.engines import DEFAULT, Models, found_repositories
from app.visitors.tab import Tab
from app.visitors.visitor import Visitor
from core.backbones.base import Backbone
from core.backbones.peft_format import CONFIG_FILE, WEIGHTS_FILE, save_peft
from core.cli.parser import build_parser
from core.common.errors import AdapterError, BackboneError, GalleryError, RepositoryError
from core.common.paths import EXPERTS as SHIPPED
from core.common.paths import GENERATOR_FILE
from core.experts.files import save_generator, save_repository
from core.experts.load import NamedBackbone, load_engine
from core.experts.own import save_zip
from core.retrieval.gallery import ZERO_SHOT, Adapter, Gallery
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

SENTENCE, QUERY = "photos of boats", "something red"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("others")
    for seed in (1, 2):
        make_repository(made, seed)
    return made


def besides_shipped(given: list[Path]) -> list[NamedBackbone]:
    """The repositories found in addition to the embedded backbone's experts of photos, which ship with the app."""
    return [r for r in found_repositories(given) if r.folder.parent != SHIPPED]


@pytest.fixture(scope="module")
def others(folder: Path) -> list[NamedBackbone]:
    return besides_shipped([folder])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> SGLora:
    """The default engine: a small one instead of the shipped one."""
    return NamedBackbone.read(make_repository(tmp_path_factory.mktemp("home"), 0)).load()


@pytest.fixture(scope="module")
def models(engine: SGLora, others: list[NamedBackbone]) -> Models:
    return Models(lambda: engine, others)


@pytest.fixture(scope="module")
def name(models: Models) -> str:
    """The other repository."""
    return next(iter(models.repositories))


def tab_with(models: Models, photos: list[Path]) -> Tab:
    tab = Tab(Visitor())
    adding.add_uploads(models.get(), tab, [str(p) for p in photos])
    return tab


def test_repositories_are_found_with_their_command_line(folder: Path, others: list[NamedBackbone]) -> None:
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


def test_switching_indexes_photos_again(models: Models, name: str, photos: list[Path]) -> None:
    tab, steps = tab_with(models, photos), []
    visitor = tab.visitor
    adding.set_captions(models.get(), tab, {"0.png": ["a boat"], "3.png": ["a kite"]})
    before, asked = visitor.photos, Asked(Question.words(QUERY), answering.request(SENTENCE, 2, 0.1, 0, 1.0), merge=True)
    shipped = answering.answer(models.get(), tab, asked)
    other = models.get(name)
    done = visitor.switch(name, other, lambda *step: steps.append(step))
    assert (done.photos, done.lost, done.before, steps[-1]) == (6, (), DEFAULT, (6, 6))
    assert visitor.photos == before, "names, captions and order must stay"

    answering.answer_again(other, tab)
    expected = Gallery(other.backbone)
    expected.add(photos)
    adaptation = other.adapt(AdapterRequest(SENTENCE, 2, 0.1, 0, 1.0))
    merged = other.repository.merged(adaptation.routing.chosen, adaptation.routing.weights)
    adapters = (ZERO_SHOT, Adapter.of(merged), Adapter.of(adaptation.lora))
    assert tab.comparison is not None and shipped is not None
    for found, adapter in zip(tab.comparison.columns, adapters, strict=True):
        hits = ranked(expected, QUERY, adapter, None).hits
        assert [(h.key, h.rank) for h in found.ranking.hits] == [(h.key, h.rank) for h in hits]
        assert [h.score for h in found.ranking.hits] == pytest.approx([h.score for h in hits], abs=1e-5)

    visitor.switch(DEFAULT, models.get())
    answering.answer_again(models.get(), tab)
    for one, two in zip(shipped.columns, tab.comparison.columns, strict=True):
        assert [(h.key, h.score) for h in one.ranking.hits] == [(h.key, h.score) for h in two.ranking.hits]


def test_files_go_with_their_photos(models: Models, name: str, photos: list[Path], tmp_path: Path) -> None:
    copies = [tmp_path / p.name for p in photos]
    for source, target in zip(photos, copies, strict=True):
        target.write_bytes(source.read_bytes())
    tab = tab_with(models, copies)
    visitor, kept = tab.visitor, tab.visitor.files.folder / "photos"
    for copy in copies:  # the server's cache of uploads also deletes them
        copy.unlink()
    visitor.gallery(models.get()).remove([visitor.photos[0].id])
    visitor.delete_unused_files()
    assert len(list(kept.iterdir())) == 5
    next(kept.iterdir()).unlink()
    done = visitor.switch(name, models.get(name))
    assert (done.photos, len(done.lost)) == (4, 1)
    assert done.lost[0].name not in [p.name for p in visitor.photos]


def test_nothing_of_one_backbone_is_used_with_another(models: Models, name: str, photos: list[Path], tmp_path: Path) -> None:
    tab = tab_with(models, photos)
    visitor, shipped, other = tab.visitor, models.get(), models.get(name)
    lora = shipped.adapt(AdapterRequest(SENTENCE)).lora
    save_peft(lora, tmp_path, shipped.backbone.fingerprint, shipped.backbone.name, {})
    files = [str(tmp_path / CONFIG_FILE), str(tmp_path / WEIGHTS_FILE)]
    own_experts.import_files(shipped, tab, files, "photos of my marbles")
    (tmp_path / "experts.zip").write_bytes(save_zip(visitor.own_experts(shipped)))

    done = visitor.switch(name, other)
    assert done.waiting == ("marbles",)
    assert visitor.engine(other) is other, "no own expert may take part"
    with pytest.raises(AdapterError, match=f"another backbone .*{shipped.backbone.fingerprint}.*{other.backbone.fingerprint}"):
        own_experts.import_files(other, tab, files, SENTENCE)
    with pytest.raises(RepositoryError, match="belongs to other experts"):
        own_experts.load_own_experts(other, tab, str(tmp_path / "experts.zip"))
    # An event that began before the switch must get neither photos nor experts of the other backbone.
    for ask in (visitor.gallery, visitor.own_experts, visitor.engine):
        with pytest.raises(GalleryError, match="Another tab switched the model"):
            ask(shipped)

    visitor.switch(DEFAULT, shipped)
    mine = visitor.engine(shipped)
    assert mine.route("photos of my marbles").chosen[0] == len(shipped.repository)


def test_photos_are_not_added_while_they_are_indexed_again(models: Models, name: str, photos: list[Path]) -> None:
    tab, refused = tab_with(models, photos[:3]), []

    def meanwhile(done: int, total: int) -> None:
        if not refused:
            with pytest.raises(GalleryError, match="being added or indexed"):
                adding.add_uploads(models.get(), tab, [str(p) for p in photos])
            tab.visitor.gallery(models.get()).remove([tab.visitor.photos[0].id])
            refused.append(True)

    done = tab.visitor.switch(name, models.get(name), meanwhile)
    assert refused and done.photos == 2
    adding.add_uploads(models.get(name), tab, [str(p) for p in photos])
    assert len(tab.visitor.photos) == 6


def test_a_failed_backbone_says_why_and_can_be_tried_again(engine: SGLora, tmp_path: Path) -> None:
    broken = make_repository(tmp_path, 3)
    (generator := broken / GENERATOR_FILE).rename(tmp_path / "away")
    models = Models(lambda: engine, besides_shipped([broken]))
    (name,) = models.repositories
    with pytest.raises(RepositoryError, match=r"generator.* is missing"):
        models.get(name)
    (tmp_path / "away").rename(generator)
    assert len(models.get(name).repository) == len(TASKS)
    with pytest.raises(BackboneError, match="no repository called “nothing”: choose one of “embedded”, "):
        models.get("nothing")


def test_an_engine_stays_loaded_and_experts_of_a_loaded_backbone_share_it(engine: SGLora, tmp_path: Path) -> None:
    save_repository(engine.repository.subset(range(2)), tmp_path / "few")
    save_generator(engine.generator, tmp_path / "few" / GENERATOR_FILE)
    models = Models(lambda: engine, besides_shipped([tmp_path / "few"]))
    (name,) = models.repositories
    assert name == "model-0, last 2 blocks (few)"
    few = models.get(name)
    assert models.get(name) is few and few.backbone is engine.backbone
    assert len(few.repository) == 2


MANY = 4_000  # steps of a download


class Slow(NamedBackbone):
    """A backbone whose download takes a while; ``steps`` notes each of its steps."""

    steps: ClassVar[list[int]] = []
    pause: ClassVar[float] = 0.01

    def fetch(self, show: Callable[[int, int], object]) -> None:
        for step in range(1, MANY):
            self.steps.append(step)
            show(step, MANY)
            time.sleep(self.pause)

    def load(self, backbone: Backbone | None = None) -> SGLora:
        return load_engine(tiny_backbone(adapt="texts"))


def test_a_download_ends_with_the_last_who_waits(engine: SGLora, monkeypatch: pytest.MonkeyPatch) -> None:
    models = Models(lambda: engine, [Slow({"spec": "slow"})])
    leaves, shown = [threading.Event(), threading.Event()], list[tuple[int, int]]()

    def waits(leave: threading.Event) -> SGLora | BackboneError:
        try:
            return models.get("slow", lambda *step: shown.append(step), leave.is_set)
        except BackboneError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(waits, leave) for leave in leaves)
        while not shown or shown[-1][0] < 20:
            time.sleep(0.01)
        loading = models.engine("slow")
        leaves[0].set()
        assert "Stopped" in texts.of(first.result())
        before = Slow.steps[-1]
        wait(lambda: Slow.steps[-1] > before, time.monotonic() + PATIENCE_SECONDS)
        assert not models.engine("slow").loaded, "the other one still waits"
        leaves[1].set()
        assert "Stopped" in texts.of(second.result())
    wait(lambda: loading.failed, time.monotonic() + PATIENCE_SECONDS)
    assert Slow.steps[-1] < MANY - 1 and Slow.steps.count(1) == 1, "one download for both, and it ended"
    monkeypatch.setattr(Slow, "pause", 0)
    assert len(models.get("slow").repository) == 0 and Slow.steps.count(1) == 2 and models.engine("slow").loaded
