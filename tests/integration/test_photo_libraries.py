"""Libraries on the page: who may read and write what, and the tab through the page's own functions."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from app_visitors import launched
from made_up_photos import blurred
from strangers import API, Stranger, wait

from app.engines import Models
from app.http.hosts import is_from_here
from app.page import Studio
from app.photo_libraries import PhotoLibraries
from app.steps.context import Controls
from app.steps.photo_library import SearchLibrary
from app.visitors.limits import Limits
from app.visitors.session import Session
from core.common.errors import LibraryError
from core.data import decode_pool
from core.retrieval.indexing import index_folders
from core.retrieval.library import PhotoLibrary
from core.sglora.engine import SGLora

HERE = {"host": "127.0.0.1:7860"}


@pytest.mark.parametrize(
    ("peer", "headers", "here"),
    [
        ("127.0.0.1", HERE, True),
        ("::1", {"host": "[::1]:7860"}, True),
        ("127.0.0.1", {"host": "localhost"}, True),
        ("192.168.1.5", HERE, False),
        ("127.0.0.1", {"host": "evil.example"}, False),
        ("127.0.0.1", {"host": "127.0.0.1.nip.io"}, False),
        ("127.0.0.1", {"host": "["}, False),
        ("127.0.0.1", {}, False),
        ("127.0.0.1", HERE | {"x-forwarded-for": "127.0.0.1"}, False),
        ("127.0.0.1", HERE | {"forwarded": "for=127.0.0.1"}, False),
    ],
)
def test_who_is_at_this_machine(peer: str, headers: dict[str, str], here: bool) -> None:
    assert is_from_here(peer, headers) is here


@pytest.mark.slow
def test_a_visitor_behind_a_proxy_indexes_no_folder(engine: SGLora, tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "library"
    blurred(secret, ["a.jpg"], 1)
    libraries = PhotoLibraries([folder], writable=True)
    with launched(engine, tmp_path, Limits(), libraries=libraries) as app:
        (index,) = (number for number, fn in app.page.fns.items() if fn.name == "_index")
        data = ["library", str(secret), None, *(control.value for control in app.page.fns[index].inputs[3:])]
        for headers in ({"x-forwarded-for": "203.0.113.7"}, {"forwarded": "for=203.0.113.7"}, {"x-real-ip": "203.0.113.7"}):
            Stranger(app.url, headers=headers).event(index, *data)
            assert not folder.exists(), headers
        Stranger(app.url).event(index, *data)
        assert libraries.folders("library") == (str(secret),)


@pytest.mark.slow
def test_indexing_ends_when_its_visitor_leaves(engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, names = decode_pool._Process.decode, []

    def slow(process: decode_pool._Process, name: str, *args: Any) -> decode_pool.DecodedPhoto:
        names.append(name)
        time.sleep(0.1)
        return decode(process, name, *args)

    monkeypatch.setattr(decode_pool._Process, "decode", slow)
    photos = tmp_path / "photos"
    blurred(photos, [f"{i}.jpg" for i in range(300)], 1)
    with launched(engine, tmp_path, Limits(), libraries=PhotoLibraries([tmp_path / "library"], writable=True)) as app:
        (index,) = (number for number, fn in app.page.fns.items() if fn.name == "_index")
        stranger = Stranger(app.url)
        controls = [control.value for control in app.page.fns[index].inputs[3:]]
        body = {"data": ["library", str(photos), None, *controls], "fn_index": index, "session_hash": stranger.session}
        assert stranger.post(f"{API}/queue/join", json=body).status_code == 200
        until = time.monotonic() + 60
        stranger.leave_when(lambda: len(names) >= 3, until)
        wait(lambda: not app.page._queue.event_ids_to_events, until)
        assert len(names) < 300


@pytest.mark.slow
def test_names_that_are_no_utf8_are_found_on_the_page(engine: SGLora, tmp_path: Path) -> None:
    photos, folder = tmp_path / "photos", tmp_path / "library"
    blurred(photos, ["a.jpg"], 1)
    (photos / "a.jpg").rename(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.jpg"))
    index_folders(PhotoLibrary.create(folder, engine.backbone), [photos], engine.backbone)
    with launched(engine, tmp_path, Limits(), libraries=PhotoLibraries([folder])) as app:
        number = next(n for n, fn in app.page.fns.items() if getattr(fn.fn, "__qualname__", "") == "SearchLibrary._search")
        controls = [control.value for control in app.page.fns[number].inputs[3:]]
        answer = Stranger(app.url).event(number, "library", "a dog", None, *controls)
        assert answer.values is not None and r"caf\udce9.jpg" in answer.values[0], answer


def test_a_library_is_indexed_and_searched_from_the_page(engine: SGLora, tmp_path: Path) -> None:
    photos, folder = tmp_path / "photos", tmp_path / "library"
    blurred(photos, [f"{i}.jpg" for i in range(5)], 1)
    with pytest.raises(LibraryError, match="holds no library"):
        PhotoLibraries([folder])
    libraries = PhotoLibraries([folder], writable=True)
    studio = Studio(Models(lambda: engine), libraries=libraries)
    with gr.Blocks() as page:
        studio.build(page)
    step = SearchLibrary.__new__(SearchLibrary)
    with gr.Blocks():
        step.__init__(studio.context, libraries)
    session = Session()
    request = SimpleNamespace(client=SimpleNamespace(host="127.0.0.1"), headers={"host": "localhost:7860"})
    progress = lambda *_, **__: None  # noqa: E731
    report = step._index("library", str(photos), session, request, progress)[step.report]
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
