"""The endpoints as MCP tools, called by a real MCP client over HTTP; two clients never meet."""

from __future__ import annotations

import ast
import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import pytest
from app_visitors import QUERY, SENTENCE, Running, launched
from make_images import encode, picture

from app.visitors.retention import Limits
from core.experts.adapter_files import routed_experts
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

mcp = pytest.importorskip("mcp")
from mcp.client.streamable_http import streamablehttp_client  # noqa: E402


@pytest.fixture(scope="module")
def app(engine: SGLora, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with launched(engine, tmp_path_factory.mktemp("app"), Limits(), mcp=True) as running:
        yield running


def call(app: Running, tool: str, visitor: str = "", **values: Any) -> Any:
    """What a tool answers to one client, as Python; an error as its text."""

    async def ask() -> Any:
        address = f"{app.url}gradio_api/mcp/" + (f"?visitor={visitor}" if visitor else "")
        async with streamablehttp_client(address) as (read, write, _), mcp.ClientSession(read, write) as session:
            await session.initialize()
            if not tool:
                return await session.list_tools()
            answer = await session.call_tool(tool, values)
            said = answer.content[0].text
            return said if answer.isError else ast.literal_eval(said)

    return asyncio.run(ask())


SETTINGS = {"k": 4, "tau": 0.1, "seed": 0}


def test_the_endpoints_are_tools(app: Running, engine: SGLora) -> None:
    names = {tool.name for tool in call(app, "").tools}
    assert {"route", "adapt", "index", "search", "teach"} <= names
    answer = call(app, "route", description=SENTENCE, k=4, tau=0.1)
    assert [e["name"] for e in answer["experts"]] == [e["name"] for e in routed_experts(engine, engine.route(SENTENCE))]
    answer = call(app, "adapt", description=SENTENCE, **SETTINGS)
    assert answer["parameters"] == engine.adapt(AdapterRequest(SENTENCE)).lora.parameters


def test_a_visitor_finds_its_photos_again_and_nobody_else_does(app: Running) -> None:
    photo = "data:image/png;base64," + base64.b64encode(encode(picture(), "PNG")).decode()
    answer = call(app, "index", "a-name-that-nobody-guesses", files=[photo], captions="")
    assert isinstance(answer, dict) and answer["added"] == 1, answer
    found = call(app, "search", "a-name-that-nobody-guesses", query=QUERY, description=SENTENCE, **SETTINGS)
    assert len(found["zero_shot"]) == 1
    for other in ("", "another-name"):
        assert "no photos" in call(app, "search", other, query=QUERY, description=SENTENCE, **SETTINGS)
