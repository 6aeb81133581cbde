"""Limits for all visitors together, in the running app. It deletes abandoned data, and makes room from the longest unused."""

from __future__ import annotations

import gc
import io
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from app_visitors import SENTENCE, Visitor, empty_albums, launched
from gradio_client.exceptions import AppError
from PIL import Image

from app import texts
from app.http import upload_limits
from app.visitors import retention, tab_states
from app.visitors.album import open_albums
from app.visitors.retention import Keeper, Limits
from app.visitors.session import Session
from app.visitors.tab_states import sessions_of
from core.common.errors import StudioError
from core.retrieval.gallery import Gallery
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

pytestmark = pytest.mark.slow

WAIT_SECONDS, WAITED_SECONDS = 120, 3


@pytest.fixture(autouse=True)
def alone() -> None:
    empty_albums()


def until(true: Callable[[], bool]) -> None:
    """Wait until a sweep makes ``true()`` true."""
    end = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.1)


def galleries() -> int:
    """The number of photos in all galleries that are still in memory."""
    gc.collect()
    return sum(len(thing.photos) for thing in gc.get_objects() if type(thing) is Gallery)


# Time


def test_data_goes_with_its_visitor_only(engine: SGLora, tmp_path: Path) -> None:
    before = galleries()
    with launched(engine, tmp_path, Limits()) as app:
        stays, leaves = Visitor(app, tmp_path, 1), Visitor(app, tmp_path, 2)
        for visitor in (leaves, stays):
            visitor.add()
            visitor.client.predict(description=SENTENCE, api_name="/adapt")
        assert {path.suffix for path in app.files()} == {"", ".png", ".zip"}, "photos, upload pieces, and a ZIP each"
        tabs, last = app.page.state_holder.session_data, app.page.state_holder.used
        album, left = (
            session.album for visitor in (stays, leaves) for session in sessions_of(tabs[visitor.client.session_hash])
        )
        leaves.client.close()
        left.used -= 3600
        last[leaves.client.session_hash] -= 3600
        app.sweep(60)
        assert list(tabs) == [stays.client.session_hash]
        assert galleries() - before == 3
        with album.in_use():
            app.sweep()
        # After a time, the app deletes uploads of the visitor who stays, too, because it has read them.
        assert {path.suffix for path in app.files()} == {".zip"}, "only the adapter of the visitor who stays is left"
        assert stays.found() == stays.names()
        stays.client.close()
        app.sweep()
        assert not tabs
        assert not app.files()
        assert galleries() == before
        assert not any(files for files in app.page.temp_file_sets), "Gradio must forget deleted files"


def test_sweeps_happen_on_their_own(engine: SGLora, tmp_path: Path) -> None:
    with launched(engine, tmp_path, Limits(keep_seconds=2, unread_seconds=2)) as app:
        (app.folder / "old").mkdir(parents=True)
        (app.folder / "old" / "photo.jpg").write_bytes(b"sent")
        until(lambda: not any(app.folder.iterdir()))


def test_an_open_tab_shows_once_that_its_data_was_deleted(engine: SGLora, tmp_path: Path) -> None:
    with launched(engine, tmp_path, Limits()) as app:
        visitor = Visitor(app, tmp_path, 3)
        visitor.add()
        app.sweep()
        with pytest.raises(AppError, match=r"unused for 60 minutes"):
            visitor.found()
        visitor.add()
        assert visitor.found() == visitor.names()


def test_nothing_ends_while_an_event_uses_it(engine: SGLora, tmp_path: Path) -> None:
    with launched(engine, tmp_path, Limits()) as app:
        visitor = Visitor(app, tmp_path, 4)
        visitor.add()
        album = open_albums()[-1]  # the last one used; albums of earlier tests may still be open
        assert album.photos[0].name.startswith("4-")
        with album.in_use():
            app.sweep()
            assert visitor.client.session_hash in app.page.state_holder.session_data
            assert len(album.photos) == 3
        app.sweep()
        assert not album.photos


# Room


def test_memory_makes_room_for_the_newest_the_longest_unused_first(engine: SGLora, tmp_path: Path) -> None:
    probe = Gallery(engine.backbone)
    probe.add([("probe.png", _png(0))])
    one = probe.memory
    assert one > probe.embeddings().nbytes + len(probe.photos[0].thumbnail)
    adaptation = engine.adapt(AdapterRequest(SENTENCE))
    merged, _ = engine.applied(engine.repository.merged(adaptation.routing), adaptation.strength)
    adapters = 4 * (adaptation.lora.parameters + merged.parameters)  # of one search
    with launched(engine, tmp_path, Limits(memory=int(2.7 * (3 * one + adapters)))) as app:
        first, second, third = (Visitor(app, tmp_path, number) for number in (5, 6, 7))
        for visitor in (first, second):
            visitor.add()
            assert visitor.found() == visitor.names()
        assert first.found() == first.names(), "this search makes the second visitor the longest unused"
        third.add()
        assert third.found() == third.names()
        with pytest.raises(AppError, match="make room for other visitors"):
            second.found()
        with pytest.raises(AppError, match="no photos yet"):
            second.found()
        assert (first.found(), third.found()) == (first.names(), third.names())
        second.add()
        assert second.found() == second.names()


def test_disk_room_comes_from_read_files_then_from_the_longest_unused(engine: SGLora, tmp_path: Path) -> None:
    limits = Limits(unread_seconds=WAITED_SECONDS, disk=6_000_000)
    with launched(engine, tmp_path, limits) as app:
        visitors = [Visitor(app, tmp_path, number) for number in (8, 9)]
        for visitor in visitors:
            visitor.add(side=640)  # 1.2 MB each: noise does not compress
            time.sleep(WAITED_SECONDS)
        assert sum(path.stat().st_size for path in app.files()) <= limits.disk
        for visitor in visitors:
            assert visitor.found() == visitor.names(), "photos that were read must not need their files"
        # Albums are next. A ZIP is small, so the test adds a large file.
        for visitor in visitors:
            visitor.client.predict(description=SENTENCE, api_name="/adapt")
        (album,) = (album for album in open_albums() if album.photos and album.photos[0].name.startswith("8-"))
        (album.folder / "large").write_bytes(bytes(limits.disk))
        assert app.keeper.make_room_on_disk()
        with pytest.raises(AppError, match="make room for other visitors"):
            visitors[0].found()
        assert visitors[1].found() == visitors[1].names()


def test_an_upload_without_room_is_rejected_and_leaves_nothing(
    engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LOOK_SECONDS", 0)  # the app must see the test's files at once
    with launched(engine, tmp_path, Limits(disk=22_000_000)) as app:
        visitor = Visitor(app, tmp_path, 10)
        visitor.add(side=100)
        before = app.files()
        address = f"{app.url}gradio_api/upload"
        answer = httpx.post(address, files={"files": ("large.jpg", bytes(8_000_000))}, timeout=120)
        assert (answer.status_code, answer.text) == (413, texts.UPLOAD_LARGE.format(mb=5))
        (album,) = (album for album in open_albums() if album.photos and album.photos[0].name.startswith("10-"))
        large = album.folder / "large"
        large.write_bytes(bytes(18_000_000))
        answer = httpx.post(address, files={"files": ("large.jpg", bytes(5_000_000))}, timeout=120)
        assert (answer.status_code, answer.text) == (507, texts.DISK_FULL)

        # The app reads an upload without a stated length as far as it fits, and then deletes all of it.
        body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' + bytes(20_000_000)
        pieces = (body[at : at + 100_000] for at in range(0, len(body), 100_000))
        headers = {"content-type": "multipart/form-data; boundary=x"}
        answer = httpx.post(address, content=pieces, headers=headers, timeout=120)
        assert (answer.status_code, answer.text) == (507, texts.DISK_FULL)
        large.unlink()
        answer = httpx.post(address, content=iter([body]), headers=headers, timeout=120)
        assert answer.status_code == 413
        assert app.files() == before
        assert visitor.found() == visitor.names()


def test_announced_uploads_cost_nothing(engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_limits, "QUIET_SECONDS", 0.2)
    with launched(engine, tmp_path, Limits(disk=40_000_000)) as app:
        visitors = [Visitor(app, tmp_path, number) for number in (41, 42, 43)]
        albums = []
        for visitor in visitors:
            visitor.add()
            (album,) = (a for a in open_albums() if a.photos and a.photos[0].name.startswith(f"{visitor.number}-"))
            (album.folder / "large").write_bytes(bytes(12_000_000))
            albums.append(album)
        used = time.monotonic() - 2 * retention.SPARED_SECONDS

        def announce(size: int, seconds: float) -> int:
            for album in albums:
                album.used = used
            with socket.create_connection(("127.0.0.1", httpx.URL(app.url).port), timeout=120) as announcing:
                head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n"
                announcing.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x".encode())
                announcing.settimeout(seconds)
                with suppress(TimeoutError):  # wait for a possible answer
                    return int(announcing.recv(100).split()[1])
                return 0

        assert announce(99_999_999_999, WAIT_SECONDS) == 413
        assert announce(9_000_000, 2) == 0
        for visitor in visitors:
            assert visitor.found() == visitor.names()


def test_tiny_files_count_with_the_blocks_that_they_take(
    engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LOOK_SECONDS", 0)
    monkeypatch.setattr(upload_limits, "QUIET_SECONDS", 0.2)
    empty_albums()
    with launched(engine, tmp_path, Limits(disk=4_000_000)) as app:
        tiny = [("files", ("a.png", b"x"))] * 600
        answers = [httpx.post(f"{app.url}gradio_api/upload", files=tiny, timeout=120) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 507]


def test_uploads_take_no_room_from_visitors_of_the_last_minute(
    engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LOOK_SECONDS", 0)
    with launched(engine, tmp_path, Limits(disk=30_000_000)) as app:
        first, second = (Visitor(app, tmp_path, number) for number in (44, 45))
        first.add(), second.add()
        (album,) = (a for a in open_albums() if a.photos and a.photos[0].name.startswith("44-"))
        (album.folder / "large").write_bytes(bytes(26_000_000))

        def send() -> int:
            files = {"files": ("a.jpg", bytes(6_000_000))}
            return httpx.post(f"{app.url}gradio_api/upload", files=files, timeout=120).status_code

        assert send() == 507
        assert first.found() == first.names()
        assert second.found() == second.names()
        album.used -= 2 * retention.SPARED_SECONDS
        assert send() == 200
        with pytest.raises(AppError, match="make room for other visitors"):
            first.found()
        assert second.found() == second.names()


def test_newcomers_and_tabs_that_wait_are_not_ended_for_others(
    engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tab_states, "YOUNG_SECONDS", 3600.0)  # tabs stay young, however long the test takes
    with launched(engine, tmp_path, Limits(sessions=2)) as app:
        visitors = [Visitor(app, tmp_path, number) for number in range(21, 27)]
        for visitor in visitors:
            visitor.add(1)
        for visitor in visitors:
            assert visitor.found() == visitor.names(1)


def test_newcomers_push_no_active_visitor_out(engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = 0.0
    monkeypatch.setattr(tab_states, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + later))
    with launched(engine, tmp_path, Limits(sessions=2)) as app:
        honest = Visitor(app, tmp_path, 31)
        honest.add(1)
        later = 2 * tab_states.YOUNG_SECONDS
        assert honest.found() == honest.names(1)
        for number in range(32, 36):
            Visitor(app, tmp_path, number).add(1)
        assert honest.found() == honest.names(1)


@pytest.mark.parametrize("crowd", ["203.0.113.2", "2001:db8:1:2::{number:x}", "[2001:db8:1:2:{number:x}::]:{number}"])
def test_the_visitor_with_the_most_tabs_loses_tabs_first(
    crowd: str, engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = 0.0
    monkeypatch.setattr(tab_states, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + later))
    with launched(engine, tmp_path, Limits(sessions=6)) as app:
        honest = Visitor(app, tmp_path, 30)
        honest.add(1)
        later = 2 * tab_states.YOUNG_SECONDS  # the visitor clicked nothing for two minutes, and the crowd has just arrived
        queue = app.page._queue
        queue.addresses[honest.client.session_hash] = "203.0.113.1"
        for number in range(12):  # each has an adapter, like an honest visitor, and was used later
            body = {"data": [SENTENCE, 4, 0.1, 0, None], "session_hash": f"crowd-{number}"}
            headers = {"x-forwarded-for": crowd.format(number=number)}
            assert httpx.post(f"{app.url}gradio_api/call/adapt", json=body, headers=headers, timeout=120).status_code == 200
            until(lambda: not queue.event_ids_to_events)
        assert honest.client.session_hash in app.page.state_holder.session_data
        assert honest.found() == honest.names(1)


def test_more_tabs_than_there_may_be_end_the_longest_unused(
    engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tab_states, "YOUNG_SECONDS", 0.0)
    with launched(engine, tmp_path, Limits(sessions=2)) as app:
        visitors = [Visitor(app, tmp_path, number) for number in (11, 12, 13)]
        for visitor in visitors:
            visitor.add(1)
        with pytest.raises(AppError, match="too many other visitors came"):
            visitors[0].found()
        assert visitors[2].found() == visitors[2].names(1)


def test_made_up_sessions_push_no_visitor_out(engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tab_states, "YOUNG_SECONDS", 0.0)
    with launched(engine, tmp_path, Limits(sessions=5)) as app:
        photos, adapter = Visitor(app, tmp_path, 14), Visitor(app, tmp_path, 15)
        photos.add(1)
        adapter.client.predict(description=SENTENCE, api_name="/adapt")
        for number in range(12):
            body = {"data": [SENTENCE, 4, 0.1], "session_hash": f"made-up-{number}"}
            assert httpx.post(f"{app.url}gradio_api/call/route", json=body, timeout=120).status_code == 200
            until(lambda: not app.page._queue.event_ids_to_events)
        tabs, queue = app.page.state_holder.session_data, app.page._queue
        until(lambda: not queue.event_ids_to_events)
        assert {photos.client.session_hash, adapter.client.session_hash} < set(tabs)
        assert len(tabs) == 5
        assert len(queue.pending_messages_per_session) <= 5 + 2, "unfetched answers are dropped; two calls were running"
        assert photos.found() == photos.names(1)
        # If all tabs hold something, tabs that one click can restore go before tabs with photos.
        for number in range(16, 21):
            Visitor(app, tmp_path, number).client.predict(description=SENTENCE, api_name="/adapt")
        assert photos.client.session_hash in tabs and adapter.client.session_hash not in tabs
        assert photos.found() == photos.names(1)
        with pytest.raises(AppError, match="too many other visitors came"):
            adapter.found()


def test_a_small_disk_takes_what_fits_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    usage, megabyte = shutil.disk_usage(tmp_path), 2**20
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage.__class__(30 * megabyte, 0, 30 * megabyte))
    keeper = Keeper(Limits())
    assert keeper.room_on_disk(int(2.8 * megabyte)) == ""
    assert keeper.room_on_disk(20 * megabyte) == ""
    assert keeper.room_on_disk(int(29.9 * megabyte)) == texts.DISK_FULL


# Limits


def test_limits_come_from_the_environment() -> None:
    values = {"SG_LORA_KEEP_MINUTES": "0.5", "SG_LORA_MEMORY_MB": "3", "SG_LORA_DISK_MB": "2.5"}
    assert Limits.from_environment(values) == Limits(30, 30, 3 * 2**20, 5 * 2**19)
    assert Limits.from_environment({}) == Limits()


@pytest.mark.parametrize("value", ["-1", "0", "soon", "nan", "inf", "1e306"])
def test_invalid_limits_are_rejected_by_name(value: str) -> None:
    with pytest.raises(StudioError, match="SG_LORA_DISK_MB"):
        Limits.from_environment({"SG_LORA_DISK_MB": value})


def test_a_closed_album_forgets_what_its_tabs_show(engine: SGLora) -> None:
    session = Session(history=[("a", "b")])
    session.album.gallery(engine).add([("a.png", _png(1))])
    session.album.close("because")
    assert (session.history, session.album.photos, session.album.memory, session.album.gone) == ([], (), 0, "because")


def _png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (200, 200, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
