"""Gradio's routes for strangers: which are open, what a request may hold, and what the server reads for a stranger."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import safehttpx
from gradio import processing_utils
from hostile_cases import check_message, watched
from small_page import Small, small
from strangers import API, Stranger, elsewhere, value, wait

from app.languages import texts
from app.server.calls import MAX_BYTES, MAX_VALUES

# The open routes, in Gradio's spelling. All other routes of Gradio must be closed.
OPEN = {
    *("GET /", "HEAD /", "GET /config", "GET /theme.css", "GET /favicon.ico", "GET /manifest.json", "GET /robots.txt"),
    "GET /gradio_api/app_id",
    *("GET /assets/{path:path}", "GET /static/{path:path}", "GET /gradio_api/info", "GET /gradio_api/startup-events"),
    *("POST /gradio_api/queue/join", "GET /gradio_api/queue/data", "POST /gradio_api/cancel", "POST /gradio_api/reset"),
    *("POST /gradio_api/call/{api_name}", "GET /gradio_api/call/{api_name}/{event_id}"),
    *("POST /gradio_api/call/v2/{api_name}", "GET /gradio_api/call/v2/{api_name}/{event_id}"),
    *("POST /gradio_api/upload", "GET /gradio_api/upload_progress", "GET /gradio_api/heartbeat/{session_hash}"),
}
FORM = {"content-type": "multipart/form-data; boundary=edge"}
PART = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'

REFUSED = texts.FILE_NOT_YOURS, texts.NO_ADDRESSES, texts.CALL_NOT_JSON  # a name with a control character is no call


@pytest.fixture
def stranger(app: Small) -> Stranger:
    return Stranger(app.url)


# Routes


def routes_in(router: Any) -> Iterator[Any]:
    """All routes, also those of nested routers, which some releases of FastAPI keep separate."""
    for route in router.routes:
        inner = getattr(route, "original_router", None)
        yield from [route] if inner is None else routes_in(inner)


def test_only_the_routes_that_are_used_are_open(app: Small) -> None:
    found = {f"{method} {route.path}" for route in routes_in(app.page.app) for method in route.methods}
    assert found >= OPEN
    assert len(found) > 60, "too few routes: Gradio keeps them elsewhere"
    closed = set()
    for known in sorted(found):
        method, path = known.split(" ", 1)
        filled = re.sub(r"\{[^}]*\}", "x", path).removeprefix("/")
        with httpx.stream(method, f"{app.url}{filled}", timeout=120) as answer:  # streamed, because a heartbeat never ends
            if answer.status_code == 404 and (method == "HEAD" or texts.NO_SUCH_ROUTE in answer.read().decode()):
                closed.add(known)
    assert found - closed == OPEN


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("GET", f"{API}/file=HTTP://example.org/"),
        ("GET", f"{API}/file=//example.org/x"),
        ("GET", f"{API}/file/http://127.0.0.1:9/"),
        ("GET", f"{API}/mcp/"),
        ("GET", f"{API}/queue/data?session_hash={'x' * 100}"),
        ("GET", f"{API}/upload_progress?upload_id={'x' * 100}"),
        ("GET", f"{API}/heartbeat/{'x' * 100}"),
        ("GET", f"{API}//process_recording"),
        ("GET", f"assets/%2e%2e/%2e%2e/{API}/proxy=x"),
        ("GET", "assets/..%2f..%2findex.html"),
        ("PUT", f"{API}/upload"),
        ("DELETE", "config"),
        ("GET", "openapi.json"),
        ("GET", ".git/config"),
    ],
)
def test_what_is_not_used_is_not_found(app: Small, method: str, route: str) -> None:
    answer = httpx.request(method, f"{app.url}{route}", timeout=120)
    assert answer.status_code == 404 or (route.startswith("assets") and answer.status_code == 403)
    assert len(answer.text) < 100


@pytest.mark.parametrize(
    ("route", "headers"),
    [
        ("?page=nothing", {}),
        (f"static/{'x' * 5_000}", {}),
        (f"{API}/upload", {"content-type": f"multipart/form-data; boundary={'x' * 300}"}),
        (f"{API}/upload", {"content-type": "multipart/form-data; boundary=edge; charset=undefined"}),
    ],
)
def test_gradios_failures_get_a_message(app: Small, route: str, headers: dict[str, str], capfd: pytest.CaptureFixture) -> None:
    sent = {"method": "POST", "content": PART + b"x\r\n--edge--\r\n"} if route.endswith("upload") else {"method": "GET"}
    answer = httpx.request(url=f"{app.url}{route}", headers=headers, timeout=120, **sent)
    assert (answer.status_code, answer.json()["detail"]) == (400, texts.REQUEST_UNUSABLE)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("header", ["x-forwarded-host", "x-gradio-server"])
def test_no_header_changes_the_address_of_the_page(app: Small, header: str) -> None:
    own = app.url.rstrip("/")
    for made_up in ("evil.example", "http://evil.example", "a:b:c", "[::1"):
        answer = httpx.get(f"{app.url}config", headers={header: made_up}, timeout=120)
        assert (answer.status_code, answer.json()["root"]) == (200, own)
        assert "evil.example" not in httpx.get(app.url, headers={header: made_up}, timeout=120).text


# Calls


def much(head: bytes, megabytes: int) -> Iterator[bytes]:
    """A large body in pieces, so that the sender needs no memory for it. It announces no length."""
    yield head
    for _ in range(megabytes):
        yield b"x" * 2**20


def test_a_call_larger_than_it_may_be_is_refused_unread(stranger: Stranger, tmp_path: Path) -> None:
    with watched(tmp_path) as watch:
        for name in ("queue/join", "call/count", "call/upload", "cancel"):
            length = {"content-length": str(MAX_BYTES + 1)}
            announced = stranger.post(f"{API}/{name}", length, content=much(b"x", MAX_BYTES // 2**20))
            chunked = stranger.post(f"{API}/{name}", content=much(b'{"data": ["', 48 if name == "cancel" else 5))
            for answer in (announced, chunked):
                assert (answer.status_code, answer.json()["detail"]) == (413, texts.CALL_LARGE.format(mb=4))
    assert watch.grown < 24
    assert stranger.call("whose", "a" * (MAX_BYTES - 200)).values is not None


def test_a_call_of_many_values_is_refused(stranger: Stranger) -> None:
    for each in (b"[],", b"0,", b'"",'):
        answer = stranger.post(f"{API}/call/count", content=b'{"data": [' + each * MAX_VALUES + b"0]}")
        assert (answer.status_code, answer.json()["detail"]) == (413, texts.CALL_MANY.format(n=f"{MAX_VALUES:,}"))
    deep = json.loads("[" * 900 + "]" * 900)
    assert "RecursionError" not in stranger.call("whose", deep).words


def test_signs_in_a_text_are_no_values(stranger: Stranger) -> None:
    text = ',:"\\[' * (MAX_VALUES - 10)
    assert stranger.call("whose", text).values[0][0] == text


INVALID = (b"", b"{", b"[]", b"null", b"\xff\xfe", b"data=1")


@pytest.mark.parametrize("body", INVALID)
def test_invalid_calls_are_rejected_with_a_message(stranger: Stranger, body: bytes) -> None:
    answer = stranger.post(f"{API}/queue/join", content=body)
    assert (answer.status_code, answer.json()["detail"]) == (400, texts.CALL_NOT_JSON)


@pytest.mark.parametrize("name", ["x" * 65, "", "a/b", "a b", 7, ["x"], {"x": 1}])
def test_names_of_tabs_are_short(stranger: Stranger, name: object) -> None:
    answer = stranger.post(f"{API}/queue/join", json={"data": [], "fn_index": 0, "session_hash": name})
    assert (answer.status_code, answer.json()["detail"]) == (400, texts.CALL_NAME)


@pytest.mark.parametrize("echo", ["<b>odd</b>", "x" * 1_000_000])
def test_what_was_sent_is_not_repeated(stranger: Stranger, echo: str) -> None:
    calls = [{"data": echo}, {"data": [], "batched": echo}, {"data": [], "trigger_id": {echo: [echo]}}, {echo: 1}]
    answers = [stranger.post(f"{API}/queue/join", json={"fn_index": 0, "session_hash": "x", **call}) for call in calls]
    assert {(answer.status_code, answer.json()["detail"]) for answer in answers} == {(400, texts.CALL_FIELDS)}
    assert len(stranger.call("choose", echo).words) <= 400


def test_a_wrong_choice_names_no_path(stranger: Stranger) -> None:
    for endpoint in ("choose", "fail"):
        words = stranger.call(endpoint, "/nowhere").words
        assert not words or check_message(words, Path("/srv/secret")) is None


# Uploads


def test_an_upload_has_files_only(stranger: Stranger, app: Small) -> None:
    before = app.files()
    parts = (b'name="note"', b'name="filename="', b'name="a"\r\nX: form-data; filename=b', b'filename="a.png"; name="files"')
    for disposition in parts:
        body = (
            b"--edge\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + b"x" * 8 * 2**20 + b"\r\n--edge--\r\n"
        )
        with watched(app.folder) as watch:
            answer = stranger.post(f"{API}/upload", content=body, headers=FORM)
        if disposition == parts[-1]:
            assert answer.status_code == 200
        else:
            assert (answer.status_code, answer.text) == (400, texts.FILES_ONLY)
            assert app.files() == before and watch.grown < 30


def test_an_upload_that_is_too_large_is_refused(stranger: Stranger, app: Small) -> None:
    before = app.files()
    large = stranger.post(f"{API}/upload", {**FORM, "content-length": str(65 * 2**20 + len(PART))}, content=much(PART, 65))
    assert (large.status_code, large.text) == (413, texts.UPLOAD_LARGE.format(mb=64))
    unknown = stranger.post(f"{API}/upload", FORM, content=much(PART, 8))
    assert (unknown.status_code, unknown.text) == (411, texts.UPLOAD_NO_LENGTH)
    assert app.files() == before


def test_uploads_without_room_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    """What others have announced needs room, too."""
    with small(tmp_path, could_fit=lambda size: size < 60 * 2**20, max_upload=2**27) as app:

        def upload(megabytes: int) -> tuple[int, str]:
            sender = Stranger(app.url, headers=elsewhere())
            answer = sender.post(f"{API}/upload", files={"files": ("a.png", bytes(megabytes * 2**20))})
            return answer.status_code, answer.text[:100] if answer.status_code != 200 else ""

        def pieces() -> Iterator[bytes]:
            yield PART
            wait(lambda: app.files() != set(), time.monotonic() + 60)
            assert upload(40) == (507, texts.DISK_FULL)
            yield from much(b"", 39)
            assert upload(40)[0] == 200
            raise ConnectionError

        assert upload(61) == (507, texts.DISK_FULL)
        with suppress(ConnectionError):
            Stranger(app.url).post(f"{API}/upload", {**FORM, "content-length": str(40 * 2**20)}, content=pieces())
        wait(lambda: len(app.files()) == 1, time.monotonic() + 60)  # the pieces are gone, and their room is free
        assert upload(50)[0] == 200


# Addresses and files


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """(An address on this machine that Gradio takes for a public one, the paths of the requests to it)."""
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    async def public(host: str, *_: object) -> str:
        return host

    monkeypatch.setattr(processing_utils, "PUBLIC_HOSTNAME_WHITELIST", ["127.0.0.1"])
    monkeypatch.setattr(safehttpx, "async_validate_url", public)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", heard
    server.shutdown()
    server.server_close()


def test_the_server_fetches_no_address(app: Small, stranger: Stranger, witness: tuple[str, list[str]]) -> None:
    address, heard = witness
    processing_utils.save_url_to_cache(f"{address}/first", str(app.folder))
    assert set(heard) == {"/first"}, "Gradio's own fetch must reach the witness"
    heard.clear()
    for given in (
        value(f"{address}/0.png"),
        value(f"{address}/1.png", url=f"{address}/1.png"),
        value(f"{address.upper()}/2.png"),
        value(f"{app.url}{API}/proxy={address}/3.png"),
        value(f"  {address}/4.png"),
        {"path": f"{address}/5.png"},
        {"url": f"{address}/6.png"},
        {"url": f"{address}/7.png", "meta": {"_type": "gradio.FileData"}},
        value("", url=f"{address}/8.png"),
        f"{address}/9.png",
        {"image": value(f"{address}/10.png")},
    ):
        for places in ([[given], ""], [None, given]):
            assert stranger.call("sizes", *places).values is None
    assert stranger.call("choose", value(f"{address}/11.png")).values is None
    own = stranger.upload("own.png", b"x" * 7)
    assert stranger.call("sizes", [{**own, "url": f"{address}/own.png"}], "").values == [[7]], "an address beside an own file"
    assert stranger.event(1, None, "", event_data={"value": value(f"{address}/12.png")}).values is None
    for route in (f"{API}/file={address}/a.png", f"{API}/file={quote(address, safe='')}/a.png", f"{API}/proxy={address}/a.png"):
        assert stranger.get(route).status_code == 404
    assert heard == []


def test_files_of_the_server_are_never_read(app: Small, stranger: Stranger, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    inside = app.folder / ("f" * 64)
    inside.mkdir(parents=True)
    (inside / "link.png").symlink_to(secret)
    (app.folder / "linked").symlink_to(tmp_path)
    (app.folder / "piece.png").write_bytes(b"of an upload on its way")
    names = [
        *(
            "/etc/passwd",
            str(secret),
            f"{app.folder}/../../{secret.relative_to(tmp_path.parent)}",
            f"{inside}/../../../secret.png",
        ),
        *(str(inside / "link.png"), str(app.folder / "linked" / "secret.png"), str(app.folder / "piece.png")),
        *(f"{secret}\0.png", f"file://{secret}", "secret.png", "../secret.png", "~/.bashrc", str(app.folder), str(inside)),
        *("/", ".", "", "/proc/self/environ", "/dev/zero", "x" * 100_000),
    ]
    for name in names:
        for given in ([value(name)], [value(name, is_stream=True)], [{"path": name}], value(name)):
            words = stranger.call("sizes", given, "").words
            assert any(refused in words for refused in REFUSED), name[:200]
        words = stranger.call("sizes", None, name or "/").words  # as an MCP client names a file
        assert any(refused in words for refused in REFUSED), name[:200]
        read = stranger.get(f"{API}/file={quote(name[:5000])}")
        assert (read.status_code, read.json()["detail"]) == (404, texts.NO_SUCH_ROUTE), name[:200]


def test_a_path_cannot_be_guessed_from_a_files_content(app: Small, stranger: Stranger) -> None:
    content = b"known to a stranger"
    path = Path(stranger.upload("own.png", content)["path"])
    assert hashlib.sha256(content).hexdigest() not in path.parts and len(path.parent.name) == 64
