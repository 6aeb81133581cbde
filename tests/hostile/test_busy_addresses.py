"""One address keeps the server busy; other visitors must not wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from app_visitors import SENTENCE, launched
from make_images import encode, picture
from make_zips import Member, pack
from strangers import API, Stranger, wait

from app import actions, places
from app.visitors.retention import Limits
from core.data import decode_pool
from core.data.captions import CAPTIONS_A_PHOTO
from core.retrieval.questions import Query
from core.sglora.engine import SGLora

SEARCH = ["a dog", SENTENCE, 4, 0.1, 0, 1, 10, None, None]


def wait_for(true: Callable[[], bool]) -> None:
    wait(true, time.monotonic() + 120)


def test_reading_photos_does_not_block_searches(engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, decode, reading = threading.Event(), places.decode_photo, []

    def held(*values: Any) -> Any:
        reading.append(1)
        assert go.wait(120)
        return decode(*values)

    monkeypatch.setattr(places, "decode_photo", held)
    with launched(engine, tmp_path, Limits()) as app:
        honest = Stranger(app.url, headers={"x-forwarded-for": "203.0.113.1"})
        photo = honest.upload("a.png", encode(picture(1), "PNG"))
        assert honest.call("index", [photo], "a.png: a cat").values
        try:
            for number in range(6):
                asking = Stranger(app.url, headers={"x-forwarded-for": f"198.51.100.{number}"})
                mine = asking.upload("a.png", encode(picture(1), "PNG"))
                assert asking.call("index", [mine], "a.png: a cat").values
                body = {"data": ["", *SEARCH[1:7], asking.upload("b.png", encode(picture(2), "PNG"))]}
                joined = asking.post(f"{API}/call/search", json={**body, "session_hash": asking.session})
                assert joined.status_code == 200
            wait_for(lambda: len(reading) == 6)
            assert honest.call("search", *SEARCH).values[0]["zero_shot"]
        finally:
            go.set()


def test_one_address_runs_at_most_two_searches(engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, ask, asked = threading.Event(), Query.question, []

    def held(query: Query, *values: Any) -> Any:
        if query.texts == ("slow",):
            asked.append(query)
            assert go.wait(120)
        return ask(query, *values)

    monkeypatch.setattr(Query, "question", held)
    with launched(engine, tmp_path, Limits()) as app:
        honest = Stranger(app.url, headers={"x-forwarded-for": "203.0.113.1"})
        assert honest.call("index", [honest.upload("a.png", encode(picture(1), "PNG"))], "").values
        try:
            for number in range(7):
                tab = Stranger(app.url, headers={"x-forwarded-for": f"2001:db8::{number:x}"})
                assert tab.call("index", [tab.upload("a.png", encode(picture(1), "PNG"))], "").values
                body = {"data": ["slow", *SEARCH[1:]], "session_hash": tab.session}
                assert tab.post(f"{API}/call/search", json=body).status_code == 200
            wait_for(lambda: len(asked) == 2)
            assert honest.call("search", *SEARCH).values[0]["zero_shot"]
            assert len(asked) == 2
        finally:
            go.set()


def test_one_address_runs_at_most_one_upload(engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, add, begun = threading.Event(), actions.add_uploads, []

    def held(engine: SGLora, session: Any, files: Any, *values: Any, **more: Any) -> Any:
        if "slow" in str(files):
            begun.append(files)
            assert go.wait(120)
        return add(engine, session, files, *values, **more)

    monkeypatch.setattr(actions, "add_uploads", held)
    with launched(engine, tmp_path, Limits()) as app:
        honest = Stranger(app.url, headers={"x-forwarded-for": "203.0.113.1"})
        photo = honest.upload("a.png", encode(picture(1), "PNG"))
        try:
            for number in range(4):
                tab = Stranger(app.url, headers={"x-forwarded-for": f"2001:db8::{number:x}"})
                body = {"data": [[tab.upload("slow.png", encode(picture(number), "PNG"))], ""], "session_hash": tab.session}
                assert tab.post(f"{API}/call/index", json=body).status_code == 200
            wait_for(lambda: bool(begun))
            assert honest.call("index", [photo], "").values[0]["added"] == 1
            assert len(begun) == 1
        finally:
            go.set()


def test_uploads_of_others_do_not_delay_a_visitor(engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, hostile, done = decode_pool._Process.decode, [], threading.Event()

    def slow(process: decode_pool._Process, name: str, *rest: Any) -> decode_pool.DecodedPhoto:
        if name.startswith("hostile"):
            hostile.append(name)
            done.wait(0.3)
        return decode(process, name, *rest)

    monkeypatch.setattr(decode_pool._Process, "decode", slow)
    content = encode(picture(1), "PNG")
    with launched(engine, tmp_path, Limits()) as app:
        honest = Stranger(app.url, headers={"x-forwarded-for": "203.0.113.1"})
        photo = honest.upload("a.png", content)
        for number in range(5):
            stranger = Stranger(app.url, headers={"x-forwarded-for": f"198.51.100.{number}"})
            members = [Member(f"hostile {number} {i}.png".encode(), content + bytes([number, i])) for i in range(150)]
            body = {"data": [[stranger.upload("a.zip", pack(*members))], ""], "session_hash": stranger.session}
            assert stranger.post(f"{API}/call/index", json=body).status_code == 200
        wait_for(lambda: len({name.split()[1] for name in hostile}) == 5)
        assert honest.call("index", [photo], "").values[0]["added"] == 1
        assert len(hostile) < 5 * 150 / 2
        done.set()


def test_reading_captions_ends_when_the_visitor_leaves(engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, chunks, kind = type(engine.backbone).text_prefix, [], type(engine.backbone)

    def slow(backbone: Any, sentences: Any) -> Any:
        if len(sentences) > 1:
            chunks.append(len(sentences))
            time.sleep(1)
        return read(backbone, sentences)

    with launched(engine, tmp_path, Limits()) as app:
        stranger = Stranger(app.url)
        files = [stranger.upload(f"{i}.png", encode(picture(i), "PNG")) for i in range(40)]
        captions = "\n".join(f"{i}.png: number {i} of {j}" for i in range(40) for j in range(CAPTIONS_A_PHOTO + 5))
        assert stranger.call("index", files, captions).values[0]["captioned"] == 40
        monkeypatch.setattr(kind, "text_prefix", slow)
        other = stranger.upload("b.png", encode(picture(99), "PNG"))
        body = {"data": ["", *SEARCH[1:7], other], "session_hash": stranger.session}
        assert stranger.post(f"{API}/call/search", json=body).status_code == 200
        stranger.leave_when(lambda: len(chunks) > 1, time.monotonic() + 120)
        wait_for(lambda: not app.page._queue.event_ids_to_events)
        assert sum(chunks) < 40 * CAPTIONS_A_PHOTO
