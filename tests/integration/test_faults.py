"""Faults around the running app: crashes, full disks, lost connections. Only affected visitors see an error message."""

import contextlib
import itertools
import json
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from app_visitors import SENTENCE, Running, Visitor, decoded_slowly, launched
from gradio_client.exceptions import AppError
from make_images import encode, picture
from strangers import API, Stranger, wait
from zips import zipped

from app.actions import answering
from app.answers.question import OWN, Asked
from app.calls import SEARCH, TURNS
from app.languages import texts
from app.visitors import visitor as one_visitor
from app.visitors.tab import Tab
from core.sglora.engine import SGLora

pytestmark = pytest.mark.slow

DISK_MB = 48  # the app keeps 32 of them free


# Workers


def test_a_crash_costs_one_visitor_one_answer(app: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute, crashes = answering.compute, itertools.cycle([RuntimeError, MemoryError])

    def crashing(engine: SGLora, tab: Tab, asked: Asked, *others: Any, **more: Any) -> object:
        if asked.words == "crash":
            raise next(crashes)("in a worker")
        return compute(engine, tab, asked, *others, **more)

    monkeypatch.setattr(answering, "compute", crashing)
    unlucky, other = Visitor(app, tmp_path, 101), Visitor(app, tmp_path, 102)
    unlucky.add()
    other.add()

    def crash() -> None:
        with pytest.raises(AppError, match=re.escape(texts.UNEXPECTED)) as caught:
            unlucky.client.predict(query="crash", description=SENTENCE, api_name="/search")
        assert "in a worker" not in str(caught.value) and "Traceback" not in str(caught.value)

    with ThreadPoolExecutor(1) as pool:  # gradio_client may lose an answer if threads share a client
        failing = [pool.submit(crash) for _ in range(TURNS[SEARCH].limit + 2)]
        assert other.found() == other.names()
        for each in failing:
            each.result()
    assert unlucky.found() == unlucky.names()


def test_a_client_that_leaves_ends_its_upload(app: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    names, until = decoded_slowly(monkeypatch), time.monotonic() + 300
    monkeypatch.setattr(one_visitor, "RELOAD_SECONDS", 0.1)
    stranger = Stranger(app.url)
    photos = stranger.upload("photos.zip", zipped({f"{i}.png": encode(picture(i), "PNG") for i in range(200)}))
    with stranger.present():
        body = {"data": [[photos], "", None, ""], "session_hash": stranger.session}
        assert stranger.post(f"{API}/call/index", json=body).status_code == 200
        wait(lambda: len(names) >= 3, until)
    wait(lambda: not app.page._queue.event_ids_to_events, until)
    assert len(names) < 200, "it ends between batches of 32"


# Disks


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_or_read_only_disk_refuses_files_and_answers_questions(engine: SGLora, tmp_path: Path, disk: Path) -> None:
    with launched(engine, disk) as app:
        visitor = Visitor(app, tmp_path, 105)
        visitor.add()

        def takes_no_files(query: str) -> None:
            refused = upload(app, bytes(1000))
            assert (refused.status_code, refused.text) == (507, texts.DISK_FULL)
            with pytest.raises(AppError, match=re.escape(texts.DISK_TROUBLE)):
                visitor.client.predict(description=SENTENCE, seed=1, api_name="/adapt")
            app.visitors.sweep()
            assert visitor.found() == visitor.names()
            page = Stranger(app.url, visitor.client.session_hash)
            number, values = page.click("search", {"query": query, "where": OWN})
            answer = page.event(number, *values)
            assert answer.words == "" and answer.values is not None
            assert all(name in json.dumps(answer.values) for name in visitor.names()), "the page's search, without thumbnails"

        with contextlib.suppress(OSError), (disk / "somebody else's").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**16))
        assert shutil.disk_usage(disk).free < 2**16
        takes_no_files("a dog")
        (disk / "somebody else's").unlink()
        newcomer = Visitor(app, tmp_path, 106)
        newcomer.add()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        takes_no_files("a cat")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        visitor.client.predict(description=SENTENCE, seed=1, api_name="/adapt")
        assert (newcomer.found(), visitor.found()) == (newcomer.names(), visitor.names())


def test_a_file_above_the_systems_limit_is_rejected(app: Running) -> None:
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 2**20, before[1]))
        refused = upload(app, bytes(6 * 2**20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (refused.status_code, refused.text) == (507, texts.DISK_FULL)
    assert upload(app, bytes(1000)).status_code == 200


def test_slow_clients_delay_no_visitor_and_get_their_answer(app: Running, tmp_path: Path) -> None:
    visitor, address = Visitor(app, tmp_path, 108), urlsplit(app.url)
    visitor.add(1)
    named = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="sent.jpg"\r\n\r\n'
    body = named + b"slowly sent\r\n--edge--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=edge", "Content-Length": f"{len(body)}"}

    def slowly() -> Iterator[bytes]:
        yield body[:20]
        assert visitor.found() == visitor.names(1)
        for at in range(20, len(body), 40):
            yield body[at : at + 40]
            time.sleep(0.02)

    with contextlib.ExitStack() as stack:
        for _ in range(50):
            silent = stack.enter_context(socket.create_connection((address.hostname, address.port)))
            silent.sendall(b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: x\r\nContent-Le")
        sent = httpx.post(f"{app.url}gradio_api/upload", content=slowly(), headers=headers, timeout=300)
    assert sent.status_code == 200


def upload(app: Running, content: bytes) -> httpx.Response:
    return httpx.post(f"{app.url}gradio_api/upload", files={"files": ("sent.jpg", content)}, timeout=300)
