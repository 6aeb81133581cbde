"""A small HTTP server that answers as the Hugging Face hub does."""

import functools
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

CHUNK = 2**20
COMMIT = "c0ffee" + 34 * "0"


@dataclass
class Hub:
    """The content of each file of the server, by repository and file name; or a file with it, which is served as a large file
    is. The other fields are what may go wrong."""

    files: dict[str, dict[str, bytes | Path]] = field(default_factory=dict)
    endpoint: str = ""
    starts: list[int] = field(default_factory=list)  # the first byte of each download of a large file
    ends: int = 0  # how many of them have ended, at the last byte or before
    ranges: bool = True  # whether a download may go on where another one ended
    size: int | None = None  # the size that it states
    broken: bool = False  # it sends other bytes
    pause: float = 0.0  # seconds after each piece
    piece: int = CHUNK  # bytes that it sends at once
    etag: str | None = None  # what it calls the version of a large file


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
        path = unquote(urlsplit(self.path).path).strip("/").split("/")
        api = path[:2] == ["api", "models"]
        name = "/".join(path[2:4] if api else path[:2])
        files = self.hub.files.get(name)
        if files is None:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif api and path[4:5] in ([], ["revision"]):
            self._json({"id": name, "sha": COMMIT, "siblings": [{"rfilename": f} for f in files]})
        elif api and path[4] == "tree":
            self._json([{"type": "file", "path": f, "size": len(c), "oid": _oid(c)} for f, c in _small(files)])
        elif not api and path[2] == "resolve" and path[4] in files:
            content = files[path[4]]
            if isinstance(content, Path):
                self._send_large(content, send)
                return
            headers = {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": COMMIT}
            self._send(200, content if send else b"", headers, len(content))
        else:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})

    def _send_large(self, file: Path, send: bool) -> None:
        """As the hub serves large files: their hash is known, and a part of them can be asked for."""
        hub, size = self.hub, file.stat().st_size
        first = int(re.findall(r"\d+", self.headers.get("Range") or "0")[0]) if hub.ranges else 0
        self.send_response(206 if first else 200)
        headers = {
            "X-Linked-Etag": f'"{hub.etag or _sha256(file)}"',
            "X-Linked-Size": str(hub.size or size),
            "X-Repo-Commit": COMMIT,
        }
        for key, value in {**headers, "Content-Length": str(size - first)}.items():
            self.send_header(key, value)
        self.end_headers()
        if not send:
            return
        hub.starts.append(first)
        with file.open("rb") as content, suppress(ConnectionError):
            content.seek(first)
            while part := content.read(hub.piece):
                self.wfile.write(bytes(len(part)) if hub.broken else part)
                time.sleep(hub.pause)
        hub.ends += 1
        self.close_connection = True

    def _json(self, content: Any) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content) if length is None else length)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _small(files: dict[str, bytes | Path]) -> list[tuple[str, bytes]]:
    return [(name, content) for name, content in files.items() if isinstance(content, bytes)]


@functools.cache
def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
