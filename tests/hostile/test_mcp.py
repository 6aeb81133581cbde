"""The endpoints as MCP tools, called by a real MCP client over HTTP; two clients never meet."""

from __future__ import annotations

import ast
import asyncio
import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from app_process import running
from app_visitors import QUERY, SENTENCE, Running, empty_albums, launched
from make_images import encode, picture

from app import texts
from app.visitors.retention import Limits
from app.visitors.temp_dir import PREFIX
from core.experts.adapter_files import routed_experts
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

mcp = pytest.importorskip("mcp")
from mcp.client.streamable_http import streamablehttp_client  # noqa: E402


@pytest.fixture(scope="module")
def app(engine: SGLora, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with launched(engine, tmp_path_factory.mktemp("app"), Limits(), mcp=True) as running:
        yield running


def call(url: str, tool: str, visitor: str = "", **values: Any) -> Any:
    """What a tool answers to one client, as Python; an error as its text."""

    async def ask() -> Any:
        address = f"{url}gradio_api/mcp/" + (f"?visitor={visitor}" if visitor else "")
        async with streamablehttp_client(address) as (read, write, _), mcp.ClientSession(read, write) as session:
            await session.initialize()
            if not tool:
                return await session.list_tools()
            answer = await session.call_tool(tool, values)
            said = answer.content[0].text
            return said if answer.isError else ast.literal_eval(said)

    return asyncio.run(ask())


PHOTO = "data:image/png;base64," + base64.b64encode(encode(picture(), "PNG")).decode()
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


@pytest.mark.slow
def test_photos_of_tools_lie_in_the_apps_own_folder_and_are_swept(tmp_path: Path) -> None:
    (tmp_path / "gradio").touch()  # as unusable as another user's folder of that name
    with running(tmp_path, "--mcp", "--empty", SG_LORA_KEEP_MINUTES="0.1") as (address, _):
        assert call(address, "route", description=SENTENCE, k=4, tau=0.1)["experts"]  # the models are there
        answer = call(address, "index", files=[PHOTO], captions="")
        assert isinstance(answer, dict) and answer["added"] == 1, answer
        (own,) = tmp_path.glob(f"{PREFIX}*")
        assert own.stat().st_mode & 0o077 == 0, "nobody else looks into it"
        assert {path.name for path in tmp_path.iterdir()} == {"gradio", "log.txt", own.name}
        end = time.monotonic() + 180
        while list(own.rglob("*.png")) and time.monotonic() < end:
            time.sleep(0.2)
        assert not list(own.rglob("*.png"))
