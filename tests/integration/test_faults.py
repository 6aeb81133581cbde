"""Faults around the running app: crashes, full disks, lost connections. Only affected visitors see an error message."""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import strangers
from app.visitors.album import open_albums
from app.visitors.question import Question
from app.visitors.retention import Limits
from app.visitors.session import Session
from app_process import chromium, visit
from app_visitors import SENTENCE, Running, Visitor, empty_albums, launched
from gradio_client.exceptions import AppError
from make_images import encode, picture
from playwright.sync_api import expect
from strangers import API, Stranger

from app import actions, expert_actions, texts
from app.api import LIMITS, SEARCH
from core.data import decode_pool
from core.data.sample_photos import sample_photos
from core.sglora.engine import SGLora
from core.training.own_expert import OwnRecipe

pytestmark = pytest.mark.slow

DISK_MB = 48  # the app keeps 32 of them free


# Workers


@pytest.mark.parametrize("crash", [RuntimeError, MemoryError])
def test_a_crash_costs_one_visitor_one_answer(
    engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash: type[Exception]
) -> None:
    answer = actions.ask

    def crashing(engine: SGLora, session: Session, question: Question) -> object:
        if question.what == "crash":
            raise crash("in a worker")
        return answer(engine, session, question)

    monkeypatch.setattr(actions, "ask", crashing)
    with launched(engine, tmp_path, Limits()) as app:
        unlucky, other = Visitor(app, tmp_path, 1), Visitor(app, tmp_path, 2)
        unlucky.add()
        other.add()

        def crashes() -> None:
            with pytest.raises(AppError) as caught:
                unlucky.client.predict(query="crash", description=SENTENCE, api_name="/search")
            assert texts.UNEXPECTED in str(caught.value)

        with ThreadPoolExecutor(1) as pool:  # gradio_client may lose an answer if threads share a client
            failing = [pool.submit(crashes) for _ in range(2 * LIMITS[SEARCH])]
            assert other.found() == other.names()
            for each in failing:
                each.result()
        assert unlucky.found() == unlucky.names()


def test_a_decoder_that_crashes_costs_its_photo_only(engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = decode_pool._Process.decode

    def crashing(process: decode_pool._Process, name: str, *rest: Any) -> decode_pool.DecodedPhoto:
        if name == "3-1.png":
            process.decode(f"warm {name}", *rest)
            process._process.kill()
            process._process.poll = lambda: None  # the worker dies at this photo
        return decode(process, name, *rest)

    monkeypatch.setattr(decode_pool._Process, "decode", crashing)
    with launched(engine, tmp_path, Limits()) as app:
        visitor, other = Visitor(app, tmp_path, 3), Visitor(app, tmp_path, 4)
        other.add()
        with pytest.raises(AssertionError):  # not all three were added
            visitor.add()
        assert (visitor.found(), other.found()) == (visitor.names() - {"3-1.png"}, other.names())


def test_a_visitor_who_leaves_ends_the_upload(engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, names = decode_pool._Process.decode, []

    def slow(process: decode_pool._Process, name: str, *rest: Any) -> decode_pool.DecodedPhoto:
        names.append(name)
        time.sleep(0.3)
        return decode(process, name, *rest)

    monkeypatch.setattr(decode_pool._Process, "decode", slow)
    with launched(engine, tmp_path, Limits()) as app:
        stranger = Stranger(app.url)
        files = [stranger.upload(f"{i}.png", encode(picture(i), "PNG")) for i in range(80)]
        body = {"data": [files, ""], "session_hash": stranger.session}  # an API client: its photos are added for no reload
        assert stranger.post(f"{API}/call/index", json=body).status_code == 200
        stranger.leave_when(lambda: len(names) >= 3, time.monotonic() + 120)
        wait(lambda: not app.page._queue.event_ids_to_events)
        assert len(names) < 80


# Disks


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk for one test."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def check_takes_no_files(app: Running, visitor: Visitor, reason: str) -> None:
    """Check that uploads and adapter files are rejected with an error message, and that search still works."""
    refused = upload(app, bytes(1000))
    assert (refused.status_code, refused.text) == (507, reason)
    with pytest.raises(AppError) as caught:
        visitor.client.predict(description=SENTENCE, seed=1, api_name="/adapt")
    assert texts.DISK_TROUBLE in str(caught.value)
    assert visitor.found() == visitor.names()


def test_a_full_disk_refuses_files_and_answers_questions(engine: SGLora, tmp_path: Path, disk: Path) -> None:
    with launched(engine, disk, Limits()) as app:
        visitor = Visitor(app, tmp_path, 5)
        visitor.add()
        with contextlib.suppress(OSError), (disk / "somebody else's").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**16))
        assert shutil.disk_usage(disk).free < 2**16
        check_takes_no_files(app, visitor, texts.DISK_FULL)
        (disk / "somebody else's").unlink()
        visitor.client.predict(description=SENTENCE, seed=1, api_name="/adapt")
        newcomer = Visitor(app, tmp_path, 6)
        newcomer.add()
        assert (newcomer.found(), visitor.found()) == (newcomer.names(), visitor.names())


def test_a_read_only_disk_rejects_files_and_answers_questions(engine: SGLora, tmp_path: Path, disk: Path) -> None:
    with launched(engine, disk, Limits()) as app:
        visitor = Visitor(app, tmp_path, 7)
        visitor.add()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        check_takes_no_files(app, visitor, texts.DISK_READ_ONLY)
        app.keeper.sweep()
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        visitor.client.predict(description=SENTENCE, seed=1, api_name="/adapt")
        assert visitor.found() == visitor.names()


def test_a_file_above_the_systems_limit_is_rejected(engine: SGLora, tmp_path: Path) -> None:
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with launched(engine, tmp_path, Limits()) as app:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 2**20, before[1]))
            refused = upload(app, bytes(6 * 2**20))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert (refused.status_code, refused.text) == (507, texts.DISK_FULL)
        assert upload(app, bytes(1000)).status_code == 200


# Connections


def test_slow_clients_delay_no_visitor_and_get_their_answer(engine: SGLora, tmp_path: Path) -> None:
    with launched(engine, tmp_path, Limits()) as app, contextlib.ExitStack() as stack:
        visitor = Visitor(app, tmp_path, 8)
        visitor.add()
        body = form(b"slowly sent")
        half_a_request = [stack.enter_context(connection(app)) for _ in range(50)]
        for each in half_a_request:
            each.sendall(b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: x\r\nContent-Le")
        slow = stack.enter_context(connection(app))
        slow.sendall(head(app, len(body)) + body[:20])
        assert visitor.found() == visitor.names()
        for at in range(20, len(body), 40):
            slow.sendall(body[at : at + 40])
            time.sleep(0.02)
        assert visitor.found() == visitor.names()
        assert slow.recv(1000).startswith(b"HTTP/1.1 200")


def test_an_aborted_upload_leaves_nothing_and_gives_its_room_back(engine: SGLora, tmp_path: Path) -> None:
    empty_albums()
    with launched(engine, tmp_path, Limits(disk=24_000_000)) as app:
        visitor = Visitor(app, tmp_path, 9)
        visitor.add(side=100)
        (album,) = (album for album in open_albums() if album.photos and album.photos[0].name.startswith("9-"))
        (album.folder / "large").write_bytes(bytes(18_000_000))
        before = app.files()
        body = form(bytes(5_000_000))
        with connection(app) as sending:
            sending.sendall(head(app, len(body)) + body[:600_000])
            wait(lambda: len(app.files()) > len(before))
        wait(lambda: app.files() == before)
        wait(lambda: upload(app, bytes(5_000_000)).status_code == 200)  # room is free shortly after the deletion
        assert visitor.found() == visitor.names()


def test_closing_the_browser_ends_its_training(engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, train = threading.Event(), expert_actions.train_own_expert

    def training(*given: Any, recipe: OwnRecipe) -> object:
        *given, progress, stop = given
        try:  # slowly: the test waits for the page, and needs no steps meanwhile
            return train(*given, lambda step: (time.sleep(0.2), progress(step)), stop, recipe=recipe)
        finally:
            ended.set()

    monkeypatch.setattr(expert_actions, "train_own_expert", training)
    monkeypatch.setattr(expert_actions, "RECIPE", OwnRecipe(fixed_steps=100_000))  # longer than the test needs to stop it
    photos = f"Photos: {len(sample_photos())} of"
    with launched(engine, tmp_path, Limits()) as app, chromium() as browser:
        pages = [visit(browser, app.url)[0] for _ in range(2)]
        for number, page in enumerate(pages):
            page.click("#try-it")
            expect(page.locator("#fill")).to_contain_text(photos)
            page.get_by_role("tab", name=texts.TAB_EXPERTS).click()
            page.click("#train-own button")
            page.locator("#own-name input, #own-name textarea").first.fill(f"mine {number}")
            page.locator("#own-description textarea").first.fill("photos of everything")
        closing, waiting = pages
        closing.click("#train")
        expect(closing.locator("#trained .progress-text")).to_be_visible()
        waiting.click("#train")
        expect(waiting.locator("#trained")).to_contain_text("queue: 1/1")
        assert not ended.is_set()
        closing.context.close()
        assert ended.wait(120)
        expect(waiting.locator("#trained")).to_contain_text("steps")
        waiting.click("#stop")
        expect(waiting.locator("#trained")).to_contain_text("The training was stopped")
        expect(waiting.locator("#own")).to_contain_text(texts.OWN_NONE)
        expect(waiting.locator("#fill")).to_contain_text(photos)


# Helpers


def upload(app: Running, content: bytes) -> httpx.Response:
    return httpx.post(f"{app.url}gradio_api/upload", files={"files": ("sent.jpg", content)}, timeout=300)


def form(content: bytes) -> bytes:
    part = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="sent.jpg"\r\n\r\n'
    return part + content + b"\r\n--edge--\r\n"


def head(app: Running, length: int) -> bytes:
    lines = [
        "POST /gradio_api/upload HTTP/1.1",
        f"Host: {urlsplit(app.url).netloc}",
        "Content-Type: multipart/form-data; boundary=edge",
        f"Content-Length: {length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def connection(app: Running) -> socket.socket:
    address = urlsplit(app.url)
    return socket.create_connection((address.hostname, address.port), timeout=300)


def wait(true: Callable[[], bool]) -> None:
    strangers.wait(true, time.monotonic() + 300)
