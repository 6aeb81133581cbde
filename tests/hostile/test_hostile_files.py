"""Hostile images, ZIP files and captions, each uploaded together with a good photo, as on the page."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hostile_cases import Case, Watch, check_inert, check_message, watched
from make_captions import captions
from make_images import TOO_LONG, images, picture
from make_zips import Archive, zips

from app.actions import adding
from app.actions.adding import Added
from app.page.views import page_html
from app.visitors.tab import Tab
from app.visitors.visitor import Visitor
from core.common.text import safe_name
from core.data import decode_pool
from core.sglora.engine import SGLora

MEMORY_MB = 900  # a 64-megapixel picture with transparency, and a second copy while it is resized
Drop = Callable[[Case], tuple[Added, Tab]]


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))  # another test's app may still run
    with watched(tmp_path) as seen:
        yield seen
    assert seen.outside == []
    assert seen.grown < MEMORY_MB


@pytest.fixture
def drop(engine: SGLora, tmp_path: Path, watch: Watch) -> Drop:
    """Upload a case together with a good photo and its caption, which must always be added."""

    def drop(case: Case) -> tuple[Added, Tab]:
        folder, tab = tmp_path / "sent", Tab(Visitor())
        folder.mkdir()
        hostile = folder / safe_name(case.name)
        hostile.write_bytes(case.data)
        picture(999).save(folder / "beside.png")
        (folder / "beside.csv").write_text("image,caption\nbeside.png,beside it\n")
        paths = [folder / "beside.png", folder / "beside.csv", hostile]
        done = adding.add_uploads(engine, tab, [str(path) for path in paths])
        beside = [p for p in tab.visitor.photos if p.name == "beside.png"]
        assert [p.captions for p in beside] == [("beside it",)]
        page = page_html.report(done.remarks, done.report, done.failed) + page_html.gallery_line(tab.visitor)
        check_inert(page)
        for name, reason in (*done.report.failed, *done.failed):
            check_message(f"{name}: {reason}", tmp_path)
        # The app must delete unpacked files, and keep only the photos.
        kept = tab.visitor.files.originals
        left = [p for p in tmp_path.rglob("*") if p.is_file() and p.parent != folder and p not in kept.values()]
        assert left == [] and kept.keys() == {photo.id for photo in tab.visitor.photos}
        return done, tab

    return drop


def reasons(done: Added) -> dict[str, str]:
    return {name: str(reason) for name, reason in (*done.report.failed, *done.failed)}


@pytest.mark.parametrize("case", images(), ids=str)
def test_images(drop: Drop, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    if case.reason == TOO_LONG:
        monkeypatch.setattr(decode_pool, "MAX_SECONDS", 1)  # instead of ten, which this file would take, too
    done, tab = drop(case)
    name = safe_name(case.name)
    if case.reason is None:
        assert reasons(done) == {}
        assert [photo.name for photo in tab.visitor.photos] == ["beside.png", name]
    else:
        assert list(reasons(done)) == [name]
        assert case.reason in reasons(done)[name]
        assert len(tab.visitor.photos) == 1


@pytest.mark.parametrize("case", zips(), ids=str)
def test_zips(drop: Drop, case: Archive) -> None:
    done, tab = drop(case)
    assert len(tab.visitor.photos) == case.photos + 1
    if case.reason is None:
        assert reasons(done) == {}
    else:
        said = [f"{name}: {reason}" for name, reason in reasons(done).items()]
        assert said
        assert any(case.reason in line for line in said), said[:5]
        assert any(case.name in line for line in said) or "not a readable image" in case.reason or case.reason == "empty"


@pytest.mark.parametrize("case", captions(), ids=str)
def test_captions(drop: Drop, case: Case) -> None:
    done, tab = drop(case)
    if case.reason is None:
        assert reasons(done) == {}
        assert len(done.remarks) == 2
    else:
        assert list(reasons(done)) == [case.name]
        assert case.reason in reasons(done)[case.name]
    for photo in tab.visitor.photos:
        assert all(caption.isprintable() and len(caption) <= 1_000 for caption in photo.captions)
