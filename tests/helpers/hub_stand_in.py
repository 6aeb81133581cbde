"""A small HTTP server that answers as the Hugging Face hub does, and can fail as a hub can."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + 34 * "0"


@dataclass
class Hub:
    """The repositories of the server, and the failures that it simulates.

    Attributes:
        files: the content of each file, by repository and file name.
        status: (HTTP status, X-Error-Code) of every response, by repository.
        cut: names of files whose content ends before the announced size.
        tokens: the Authorization headers of all requests.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    status: dict[str, tuple[int, str]] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    endpoint: str = ""


@contextmanager
def stand_in() -> Iterator[Hub]:
    """A running hub. ``HfApi(endpoint=hub.endpoint)`` uses it."""
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(send=False)

    def do_GET(self) -> None:
        self._answer(send=True)

    def _answer(self, send: bool) -> None:
        self.hub.tokens.add(self.headers.get("Authorization", ""))
        path = unquote(urlsplit(self.path).path).strip("/").split("/")
        api = path[:2] == ["api", "models"]
        name = "/".join(path[2:4] if api else path[:2])
        if self._refused(name):
            return
        files = self.hub.files[name]
        if api and path[4:5] in ([], ["revision"]):
            self._json({"id": name, "sha": COMMIT, "siblings": [{"rfilename": f} for f in files]})
        elif api and path[4] == "tree":
            self._json([{"type": "file", "path": f, "size": len(c), "oid": _oid(c)} for f, c in files.items()])
        elif not api and path[2] == "resolve" and path[4] in files:
            content = files[path[4]]
            headers = {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": COMMIT}
            if path[4] in self.hub.cut and send:
                content = content[: len(content) // 2]
            self._send(200, content if send else b"", headers, len(content))
        else:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})

    def do_POST(self) -> None:
        self.hub.tokens.add(self.headers.get("Authorization", ""))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path).strip("/").split("/")
        if path == ["api", "repos", "create"]:
            wish = json.loads(body)
            name = f"{wish.get('organization') or 'owner'}/{wish['name']}"
            if name in self.hub.status:
                self._refused(name)
            elif name in self.hub.files:
                self._json({"url": f"{self.hub.endpoint}/{name}"}, 409)
            else:
                self.hub.files[name] = {".gitattributes": b"* text\n"}
                self._json({"url": f"{self.hub.endpoint}/{name}"})
        elif path[:2] == ["api", "validate-yaml"] or path[1:2] == ["validate-yaml"]:
            self._json({"errors": [], "warnings": []})
        elif path[4] == "preupload":
            wanted = json.loads(body)["files"]
            self._json({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in wanted]})
        elif path[4] == "commit":
            name = "/".join(path[2:4])
            for line in body.decode().splitlines():
                item = json.loads(line)
                if item["key"] == "file":
                    self.hub.files[name][item["value"]["path"]] = base64.b64decode(item["value"]["content"])
            self._json({"success": True, "commitOid": COMMIT, "commitUrl": f"{self.hub.endpoint}/{name}/commit/{COMMIT}"})
        else:
            self._send(404, b"")

    def _refused(self, name: str) -> bool:
        status, code = self.hub.status.get(name, (200, "") if name in self.hub.files else (404, "RepoNotFound"))
        if status != 200:
            self._send(status, b"", {"X-Error-Code": code} if code else {})
        return status != 200

    def _json(self, content: Any, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None, length: int | None = None) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(content) if length is None else length)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
