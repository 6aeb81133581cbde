"""A real MCP client of the app, over HTTP."""

import ast
import asyncio
import base64
from typing import Any

import mcp
from mcp.client.streamable_http import streamablehttp_client


def as_data(png: bytes) -> str:
    """A photo as a data URL, the form that tools accept."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def call(url: str, tool: str, visitor: str = "", **values: Any) -> Any:
    """Call a tool. Returns its answer as a Python value, or the text of its error."""

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
