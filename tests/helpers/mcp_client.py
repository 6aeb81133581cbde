"""A real MCP client of the app, over HTTP."""

from __future__ import annotations

import ast
import asyncio
import base64
from typing import Any

import mcp
from mcp.client.streamable_http import streamablehttp_client


def as_data(png: bytes) -> str:
    """A photo as tools take it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


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
