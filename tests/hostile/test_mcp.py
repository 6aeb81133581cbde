"""The endpoints as MCP tools, called by a real MCP client over HTTP. Two clients never see each other's photos."""

from pathlib import Path

import httpx
import pytest
from app_visitors import QUERY, SENTENCE, launched
from make_images import encode, picture
from mcp_client import as_data, call
from small_page import Small, small
from strangers import API, Stranger

from app.languages import texts
from app.server.mcp import SECRET, VISITOR
from core.sglora.engine import SGLora

MCP, NAME = True, "a-name-that-is-not-guessed"


def test_the_endpoints_are_tools(app: Small) -> None:
    assert {tool.name for tool in call(app.url, "").tools} == {"count", "sizes", "choose", "slow", "whose", "fail"}
    assert call(app.url, "slow", seconds=0.5) == 0.5


def test_a_visitor_is_recognised_by_a_name_alone(app: Small) -> None:
    def who(name: str) -> str:
        word, visitor, _ = call(app.url, "whose", name, word="asked")
        assert word == "asked" and len(visitor) == 64
        return visitor

    assert who(NAME) == who(NAME)
    assert len({who(NAME), who("another"), who(""), who("")}) == 4, "without a name, each call stands alone"


def test_no_other_client_is_taken_for_an_mcp_visitor(app: Small) -> None:
    _, visitor, _ = call(app.url, "whose", NAME, word="asked")
    for made_up in (visitor, f".{visitor}", f"{'0' * 32}.{visitor}", ""):
        stranger = Stranger(app.url, headers={VISITOR: made_up})
        assert stranger.call("whose", "asked").values == [["asked", None, None]]
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whose", "arguments": {"word": "asked"}}}
    headers = {"accept": "application/json, text/event-stream", VISITOR: f"{SECRET}{visitor}"}
    headers["x-forwarded-for"] = "192.0.2.1, 203.0.113.9"
    answer = httpx.post(f"{app.url}{API}/mcp/", json=body, headers=headers, timeout=120).text
    assert "asked" in answer and visitor not in answer, "not even a client that knew the secret"
    assert "203.0.113.9" in answer and "192.0.2.1" not in answer, "a tool knows the address of its client"


def test_photos_come_as_data_or_as_uploads(app: Small) -> None:
    own = Stranger(app.url).upload("own.png", bytes(1000))
    assert call(app.url, "sizes", lines=f"{as_data(bytes(7))}\n\n{own['path']}\n{as_data(b'')}") == [7, 1000, 0]
    for name in ("..%2F..%2Fa%00wave.png", "%F0%9F%90%88" * 200, "%2F", ""):  # a cat, four bytes long
        assert call(app.url, "sizes", lines=as_data(bytes(7)).replace(";", f";name={name};")) == [7]
    assert {"a wave.png", "🐈" * 60 + ".png", "photo.png"} <= {path.name for path in app.files()}
    assert all(path.is_relative_to(app.folder) and len(path.parent.name) == 64 for path in app.files() if path.suffix)


@pytest.mark.parametrize(
    "line", ["/etc/passwd", "http://127.0.0.1:9/a.png", "data:image/png;base64,***", "data:,x", "~/.bashrc"]
)
def test_other_lines_are_refused(app: Small, line: str) -> None:
    before = app.files()
    said = call(app.url, "sizes", lines=line)
    assert said in (texts.FILE_NOT_YOURS, texts.NO_ADDRESSES, texts.VALUES_UNUSABLE)
    assert app.files() == before


def test_a_tool_call_without_room_is_refused(tmp_path: Path) -> None:
    with small(tmp_path, mcp=True, could_fit=lambda size: size < 10_000) as app:
        answers = [httpx.post(f"{app.url}{API}/mcp/", content=bytes(size), timeout=120) for size in (20_000, 1_000)]
    assert (answers[0].status_code, answers[0].text) == (507, texts.DISK_FULL)
    assert answers[1].status_code == 400


def test_photos_come_back_for_their_visitor_alone(engine: SGLora, tmp_path: Path) -> None:
    """With the real endpoints, which hold photos by the visitor's name."""
    sampling, photo = {"k": 4, "tau": 0.1, "seed": 0}, as_data(encode(picture(), "PNG")).replace(";", ";name=my%20cat.png;")
    with launched(engine, tmp_path, mcp=True) as app:
        added = call(app.url, "index", NAME, sent=photo)
        assert isinstance(added, dict) and (added["added"], added["failed"]) == (1, [])
        found = call(app.url, "search", NAME, query=QUERY, description=SENTENCE, **sampling)
        assert [hit["name"] for hit in found["zero_shot"]] == ["my cat.png"]
        for other in ("", "another-name"):
            assert "no photos" in call(app.url, "search", other, query=QUERY, description=SENTENCE, **sampling)
        taught = call(app.url, "teach", NAME, name="wug", sent=photo)
        assert [entry["name"] for entry in taught["names"]] == ["wug"]
        answer, file = call(app.url, "adapt", NAME, description=SENTENCE, **sampling)
        assert answer["parameters"] > 0
        assert httpx.get(file["url"], timeout=120).content.startswith(b"PK")
        assert [e["name"] for e in call(app.url, "route", description=SENTENCE, k=4, tau=0.1)["experts"]]
