"""MCP clients as visitors: none of them sees another's photos.

Gradio 6.31 calls its tools through one client for everybody, so all would share one gallery. Here each call stands alone,
unless its address names the visitor: /gradio_api/mcp/?visitor=NAME, a secret name.
"""

from __future__ import annotations

import copy
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from gradio_client import Client

from core.common.digest import digest

FILES = "photos, each as data:image/jpeg;base64,…"
MOST_FILES = 100  # most files of a call
MOST = 32  # most clients that are kept; a visitor's photos last as long as any tab's

_clients: OrderedDict[str, Client] = OrderedDict()
_changing = threading.Lock()


def separate_visitors() -> None:
    """Give every MCP visitor a client, and so a session, of its own. A second call changes nothing."""
    from gradio.mcp import GradioMCPServer

    server: Any = GradioMCPServer
    if server._get_or_create_client is not _client_of_visitor:
        server._client_for_all = server._get_or_create_client
        server._get_or_create_client = _client_of_visitor
        server._schema_as_made = server.get_input_schema
        server.get_input_schema = _input_schema
        server.pop_returned_state = staticmethod(_answers)


def _client_of_visitor(server: Any) -> Client:
    request = server.mcp_server.request_context.request
    name = (request.query_params.get("visitor") if request is not None else None) or secrets.token_hex(16)
    key = digest(f"{server.local_url} {name}")[:32]
    with _changing:
        if key in _clients:
            _clients.move_to_end(key)
            return _clients[key]
    alone = copy.copy(server)
    alone._client_instance = None
    client = alone._client_for_all()
    client.session_hash = key
    with _changing:
        client = _clients.setdefault(key, client)
        dropped = [_clients.popitem(last=False)[1] for _ in range(len(_clients) - MOST)]
    for old in dropped:
        old.close()
    return client


def _input_schema(server: Any, tool: str, parameters: Any = None) -> tuple[dict[str, Any], list[Any]]:
    """The schema of a tool's input. For a list of files, Gradio's refers to a definition elsewhere and takes no text."""
    schema, places = server._schema_as_made(tool, parameters)
    if "files" in schema.get("properties", {}):
        schema["properties"]["files"] = {
            "type": "array",
            "items": {"type": "string"},
            "description": FILES,
            "maxItems": MOST_FILES,
        }
        places = [*(place for place in places if place[:1] != ["files"]), *(["files", i] for i in range(MOST_FILES))]
    return schema, places


def _answers(_: Sequence[Any], data: Any) -> list[Any]:
    """The answers of a tool. Gradio's client returns several values as one."""
    return list(data[0] if len(data) == 1 and isinstance(data[0], list | tuple) else data)
