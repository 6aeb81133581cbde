"""The endpoints as MCP tools, called by a real MCP client over HTTP. Two clients never see each other's photos."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from app_visitors import QUERY, SENTENCE, Running, empty_albums, launched
from make_images import encode, picture
from mcp_client import as_data, call
from strangers import wait

from app import actions, texts
from app.http.addresses import address_of
from app.http.fair_queue import OWN_WAITING
from app.http.mcp_visitors import THREADS
from app.visitors.retention import Limits
from core.experts.adapter_files import routed_experts
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest


@pytest.fixture(scope="module")
def app(engine: SGLora, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with launched(engine, tmp_path_factory.mktemp("app"), Limits(), mcp=True) as running:
        yield running


PHOTO = as_data(encode(picture(), "PNG"))
SETTINGS = {"k": 4, "tau": 0.1, "seed": 0}


def test_the_endpoints_are_tools(app: Running, engine: SGLora) -> None:
    names = {tool.name for tool in call(app.url, "").tools}
    assert {"route", "adapt", "index", "search", "teach"} <= names
    answer = call(app.url, "route", description=SENTENCE, k=4, tau=0.1)
    assert [e["name"] for e in answer["experts"]] == [e["name"] for e in routed_experts(engine, engine.route(SENTENCE))]
    answer = call(app.url, "adapt", description=SENTENCE, **SETTINGS)
    assert answer["parameters"] == engine.adapt(AdapterRequest(SENTENCE)).lora.parameters


def test_photos_come_back_for_their_visitor_alone(app: Running) -> None:
    answer = call(app.url, "index", "a-name-that-nobody-guesses", files=[PHOTO], captions="")
    assert isinstance(answer, dict) and answer["added"] == 1, answer
    found = call(app.url, "search", "a-name-that-nobody-guesses", query=QUERY, description=SENTENCE, **SETTINGS)
    assert len(found["zero_shot"]) == 1
    for other in ("", "another-name"):
        assert "no photos" in call(app.url, "search", other, query=QUERY, description=SENTENCE, **SETTINGS)


def test_a_tool_call_without_room_is_refused(engine: SGLora, tmp_path: Path) -> None:
    empty_albums()
    with launched(engine, tmp_path, Limits(disk=1_000_000), mcp=True) as small:
        answers = [httpx.post(f"{small.url}gradio_api/mcp/", content=bytes(size), timeout=120) for size in (2_000_000, 1_000)]
    assert (answers[0].status_code, answers[0].text) == (507, texts.DISK_FULL)
    assert answers[1].status_code != 507


def test_waiting_tools_block_neither_the_page_nor_other_addresses(
    engine: SGLora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six addresses have more calls than the page has threads."""
    go, request = threading.Event(), actions.request

    def held(*values: Any) -> Any:
        assert go.wait(120)
        return request(*values)

    monkeypatch.setattr(actions, "request", held)
    calls = [(f"203.0.113.{number}", OWN_WAITING) for number in range(6)] + [("198.51.100.1", OWN_WAITING + 4)]
    with launched(engine, tmp_path, Limits(), mcp=True) as app, ThreadPoolExecutor(64) as pool:

        def called(address: str) -> httpx.Response:
            values = {"name": "route", "arguments": {"description": SENTENCE, "k": 4, "tau": 0.1}}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": values}
            headers = {"accept": "application/json, text/event-stream", "x-forwarded-for": address}
            return httpx.post(f"{app.url}gradio_api/mcp/", json=body, headers=headers, timeout=240)

        asked = [pool.submit(called, address) for address, count in calls for _ in range(count)]
        try:
            queue = app.page._queue
            wait(lambda: len(queue.event_ids_to_events) >= THREADS, time.monotonic() + 120)
            addresses = Counter(address_of(event.request) for event in list(queue.event_ids_to_events.values()))
            assert addresses.keys() <= {address for address, _ in calls} and max(addresses.values()) <= OWN_WAITING
            for _ in range(3):
                assert httpx.get(f"{app.url}theme.css", timeout=60).status_code == 200  # Gradio answers it in a thread
        finally:
            go.set()
        answers = [answer.result() for answer in asked]
        refused = [answer.text for answer in answers if answer.status_code == 429]
        assert refused == [texts.QUEUE_FULL_OWN.format(n=OWN_WAITING)] * 4
        assert sum("experts" in answer.text for answer in answers) == len(answers) - 4


def test_photos_of_tools_are_swept(engine: SGLora, tmp_path: Path) -> None:
    with launched(engine, tmp_path, Limits(), mcp=True) as app:
        answer = call(app.url, "index", files=[PHOTO], captions="")
        assert isinstance(answer, dict) and answer["added"] == 1, answer
        assert any(path.suffix == ".png" for path in app.files())
        app.sweep()
        assert not app.files()
