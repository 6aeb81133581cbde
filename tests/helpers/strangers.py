"""An HTTP client that follows none of the app's rules."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

API = "gradio_api"
PLAIN = {"timeout": 120, "verify": False}  # of httpx: the app serves HTTP, and reading certificates takes longer than a call


@dataclass(frozen=True)
class Answer:
    """The result of a call: its values and the last warning, or None and the error message."""

    values: list[Any] | None
    words: str = ""


@dataclass
class Stranger:
    """A client with its own session hash. It calls endpoints by name and page events by number, and uploads files."""

    url: str
    session: str = field(default_factory=lambda: secrets.token_hex(6))
    headers: dict[str, str] = field(default_factory=dict)
    connections: httpx.Client = field(default_factory=lambda: httpx.Client(**PLAIN), repr=False)

    def get(self, route: str, **options: Any) -> httpx.Response:
        return self.connections.get(f"{self.url}{route}", headers=self.headers, **options)

    def post(self, route: str, headers: dict[str, str] | None = None, **options: Any) -> httpx.Response:
        return self.connections.post(f"{self.url}{route}", headers=self.headers | (headers or {}), **options)

    def upload(self, name: str, content: bytes) -> dict[str, Any]:
        """Upload a file. Returns a file value, as gradio_client makes it."""
        answer = self.post(f"{API}/upload", files={"files": (name, content)})
        assert answer.status_code == 200, answer.text
        return value(answer.json()[0], name)

    def call(self, endpoint: str, *values: Any) -> Answer:
        """Call an endpoint by name, as with curl."""
        return self._joined(f"{API}/call/{endpoint}", {"data": values, "session_hash": self.session})

    def event(self, number: int, *values: Any, **more: Any) -> Answer:
        """Call an event of the page by number, as a browser does."""
        return self._joined(f"{API}/queue/join", {"data": values, "fn_index": number, "session_hash": self.session, **more})

    def click(self, button: str, values: dict[str, Any]) -> tuple[int, list[Any]]:
        """The number of the event of a button, and its values: the given ones by elem_id, the page's own for others."""
        config = self.get("config").json()
        parts = {part["id"]: part["props"] for part in config["components"]}
        (event,) = [
            each
            for each in config["dependencies"]
            if any(parts.get(target, {}).get("elem_id") == button for target, _ in each["targets"])
        ]
        given = [values.get(parts[each].get("elem_id"), parts[each].get("value")) for each in event["inputs"]]
        return event["id"], given

    @contextmanager
    def present(self) -> Iterator[None]:
        """Keep a connection open, as a page does until it is closed."""
        with httpx.stream("GET", f"{self.url}{API}/heartbeat/{self.session}", **PLAIN) as stream:
            beats = stream.iter_raw()  # kept in a variable: when the iterator is collected, httpx closes the connection
            next(beats)
            yield

    def _joined(self, route: str, body: dict[str, Any]) -> Answer:
        # httpx's own JSON encoder rejects NaN.
        joined = self.post(route, content=json.dumps(body), headers={"content-type": "application/json"})
        if joined.status_code != 200:
            return Answer(None, joined.text)
        return self.answer(joined.json()["event_id"])

    def answer(self, event: str) -> Answer:
        """Wait for the end of an event and return its result."""
        address, warning = f"{self.url}{API}/queue/data?session_hash={self.session}", ""
        with self.connections.stream("GET", address, headers=self.headers) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line else {}
                warning = message.get("log", warning)
                if message.get("msg") == "process_completed" and message.get("event_id") == event:
                    output = message["output"]
                    return Answer(output["data"], warning) if message["success"] else Answer(None, output["error"] or "")
                if message.get("msg") == "unexpected_error":
                    return Answer(None, message["message"])
        return Answer(None)


def elsewhere() -> dict[str, str]:
    """Headers of a call from a new address: each address has its own limits."""
    return {"x-forwarded-for": f"198.18.{secrets.randbelow(256)}.{secrets.randbelow(256)}"}


def wait(happened: Callable[[], bool], until: float) -> None:
    """Wait until ``happened`` is true. Fails at ``until``, a time of ``time.monotonic``."""
    while not happened():
        assert time.monotonic() < until, "the awaited condition is still false"
        time.sleep(0.05)


def value(path: str, name: str = "a.png", **more: Any) -> dict[str, Any]:
    """A file value with any path."""
    return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}, **more}
