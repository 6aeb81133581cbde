"""Libraries on the page: who may read and write what, and the tab through the page's own functions."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest
from made_up_photos import blurred

from app.engines import Models
from app.page import Studio
from app.photo_libraries import PhotoLibraries, is_at_home
from app.steps.context import Controls
from app.steps.photo_library import SearchLibrary
from app.visitors.session import Session
from core.common.errors import LibraryError
from core.sglora.engine import SGLora


def test_who_is_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert is_at_home(None) and is_at_home("127.0.0.1") and is_at_home("localhost") and is_at_home("::1")
    assert not is_at_home("0.0.0.0") and not is_at_home("192.168.1.5") and not is_at_home("example.org")
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    assert not is_at_home(None)
    monkeypatch.delenv("GRADIO_SERVER_NAME")
    monkeypatch.setenv("SPACE_ID", "a/b")
    assert not is_at_home(None)


def test_a_library_is_indexed_and_searched_from_the_page_at_home_only(engine: SGLora, tmp_path: Path) -> None:
    photos, folder = tmp_path / "photos", tmp_path / "library"
    blurred(photos, [f"{i}.jpg" for i in range(5)], 1)
    with pytest.raises(LibraryError, match="holds no library"):
        PhotoLibraries([folder])
    libraries = PhotoLibraries([folder], at_home=True)
    studio = Studio(Models(lambda: engine), libraries=libraries)
    with gr.Blocks() as page:
        studio.build(page)
    step = SearchLibrary.__new__(SearchLibrary)
    with gr.Blocks():
        step.__init__(studio.context, libraries)
    session = Session()
    progress = lambda *_, **__: None  # noqa: E731
    report = step._index("library", str(photos), session, progress)[step.report]
    assert "5 photos are in the library: 5 new" in report
    controls = Controls(description="photos of dogs", top=3)
    shown = step._search("library", "a dog -water", session, *controls)[step.answer_box]
    assert shown.count("data:image/jpeg;base64,") == 6 and ".jpg" in shown

    away = PhotoLibraries([folder])
    assert away.names == ("library",) and away.folders("library") == (str(photos),)
    with pytest.raises(LibraryError, match="can only be searched here"):
        away.index("library", str(photos), engine.backbone, lambda _: None)
    for name in ("", "other", str(folder), "../library"):
        with pytest.raises(LibraryError, match="no such library"):
            away.photos(name, engine.backbone)
    before = away.photos("library", engine.backbone)
    assert away.photos("library", engine.backbone) is before
    blurred(photos, ["new.jpg"], 2)
    libraries.index("library", "", engine.backbone, lambda _: None)
    assert len(away.photos("library", engine.backbone)) == 6
