"""Gradio's routes for strangers: which are open, what a request may hold, and what the server reads for a stranger."""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import safehttpx
from app_visitors import SENTENCE, Running, Visitor, client_of, launched
from gradio import processing_utils, routes
from gradio.external import from_spaces_blocks
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from hostile_cases import watched
from make_images import picture
from strangers import API, Answer, Stranger, value, wait

from app import texts
from app.http.gradio_patches import AT_ONCE_BYTES
from app.http.request_limits import MAX_BYTES, MAX_VALUES
from app.visitors.retention import Limits
from core.common.paths import ROOT
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

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
MANY_MB = 48
FILES_OF_AN_UPLOAD = 300
FORM = {"content-type": "multipart/form-data; boundary=edge"}


@pytest.fixture(scope="module")
def app(engine: SGLora, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    engine.adapt(AdapterRequest(SENTENCE))  # load everything before memory is measured
    engine.backbone.prefix(engine.backbone.pixels(picture(1))[None])
    with launched(engine, tmp_path_factory.mktemp("app"), Limits()) as running:
        yield running


@pytest.fixture
def stranger(app: Running) -> Stranger:
    return Stranger(app.url)


# Routes


def routes_in(router: Any) -> Iterator[Any]:
    """All routes, also those of nested routers, which some releases of FastAPI keep separate."""
    for route in router.routes:
        inner = getattr(route, "original_router", None)
        yield from [route] if inner is None else routes_in(inner)


def test_only_the_routes_that_are_used_are_open(app: Running) -> None:
    found = {f"{method} {route.path}" for route in routes_in(app.page.app) for method in route.methods}
    assert found >= OPEN
    assert len(found) > 60, "too few routes: Gradio keeps them elsewhere"
    closed = set()
    for known in sorted(found):
        method, path = known.split(" ", 1)
        filled = re.sub(r"\{[^}]*\}", "x", path).removeprefix("/")
        with httpx.stream(method, f"{app.url}{filled}", timeout=120) as answer:  # streamed, because a heartbeat never ends
            if answer.status_code == 404 and (method == "HEAD" or answer.read() == texts.NO_SUCH_ROUTE.encode()):
                closed.add(known)
    # A call that does not exist has no stream.
    assert found - closed == {route for route in OPEN if "{event_id}" not in route}


def test_each_browser_gets_the_configuration_that_gradio_would_copy_for_it(app: Running) -> None:
    """Two browsers use different host names, twice. Each gets its own root; the rest equals the result of Gradio's own walk."""
    for name in ("127.0.0.1", "localhost") * 2:
        root = app.url.replace("127.0.0.1", name).rstrip("/")
        given = httpx.get(f"{root}/config", headers={"sec-fetch-mode": "cors"}).json()
        walked = processing_utils.add_root_url(app.page.config, root, None)
        right = json.loads(routes.ORJSONResponse._render(walked)) | {"root": root}
        assert len(right["components"]) > 100 and {key: given[key] for key in right} == right


def test_a_client_gets_the_endpoints_and_no_more(app: Running, tmp_path: Path) -> None:
    everything = httpx.get(f"{app.url}config", headers={"sec-fetch-mode": "cors"}).json()
    given = client_of(app.url, tmp_path).config
    public = [event for event in everything["dependencies"] if event["api_visibility"] == "public"]
    assert given["dependencies"] == public and {event["api_name"] for event in public} >= {"search", "adapt", "index"}
    named = {number for event in public for number in (*event["inputs"], *event["outputs"])}
    ids = {part["id"] for part in given["components"]}
    assert named <= ids and len(ids) < len(named) + 10
    assert all(part in everything["components"] for part in given["components"])
    assert len(from_spaces_blocks(app.url, None).fns) > len(public)  # Gradio builds a page from it and adds an event


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("POST", f"{API}/process_recording"),
        ("GET", f"{API}/file=http://127.0.0.1:9/"),
        ("GET", f"{API}/file=https://example.org/"),
        ("GET", f"{API}/file=HTTP://example.org/"),
        ("GET", f"{API}/file=//example.org/x"),
        ("GET", f"{API}/file/http://127.0.0.1:9/"),
        ("GET", f"{API}/proxy=https://x.hf.space/"),
        ("GET", f"{API}/deep_link?session_hash=x"),
        ("POST", f"{API}/run/route"),
        ("POST", f"{API}/api/route"),
        ("POST", f"{API}/component_server"),
        ("POST", f"{API}/vibe-edit"),
        ("POST", f"{API}/stream/x"),
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
def test_what_is_not_used_is_not_found(app: Running, method: str, route: str) -> None:
    answer = httpx.request(method, f"{app.url}{route}", timeout=120)
    assert answer.status_code == 404 or (route.startswith("assets") and answer.status_code == 403)
    assert len(answer.text) < 100


@pytest.mark.parametrize(
    ("route", "headers"),
    [
        ("", {"x-forwarded-host": "a:b:c"}),
        ("config", {"x-forwarded-host": "[::1"}),
        ("config", {"x-gradio-server": "http://a:b"}),
        ("?page=nothing", {}),
        (f"static/{'x' * 5_000}", {}),
        (f"{API}/upload", {"content-type": f"multipart/form-data; boundary={'x' * 300}"}),
        (f"{API}/upload", {"content-type": "multipart/form-data; boundary=edge; charset=undefined"}),
    ],
)
def test_requests_that_gradio_fails_on_get_a_message(
    app: Running, route: str, headers: dict[str, str], capfd: pytest.CaptureFixture
) -> None:
    part = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nx\r\n--edge--\r\n'
    sent = {"method": "POST", "content": part} if route.endswith("upload") else {"method": "GET"}
    answer = httpx.request(url=f"{app.url}{route}", headers=headers, timeout=120, **sent)
    assert (answer.status_code, answer.json()["detail"]) == (400, texts.REQUEST_UNUSABLE)
    assert "Traceback" not in capfd.readouterr().err


# Bodies


def much(head: bytes, megabytes: int) -> Iterator[bytes]:
    """A large body in pieces, so that the sender needs no memory for it."""
    yield head
    for _ in range(megabytes):
        yield b"x" * 2**20


def test_a_call_larger_than_it_may_be_is_refused_unread(stranger: Stranger, tmp_path: Path) -> None:
    with watched(tmp_path) as watch:
        for name in ("queue/join", "call/route", "call/upload", "call/v2/upload", "cancel"):
            route = f"{API}/{name}"
            length = {"content-length": str(MAX_BYTES + 1)}
            said = stranger.post(route, length, content=much(b"x", MAX_BYTES // 2**20))
            chunked = stranger.post(route, content=much(b'{"data": ["', MANY_MB if route.endswith("join") else 5))
            for answer in (said, chunked):
                assert (answer.status_code, answer.json()["detail"]) == (413, texts.CALL_LARGE.format(mb=4))
    assert watch.grown < MANY_MB / 2
    words = "a" * (MAX_BYTES - 200)
    assert "characters" in stranger.call("route", words, 4, 0.1).words


def test_a_call_of_many_values_is_refused(stranger: Stranger) -> None:
    answer = stranger.post(f"{API}/call/route", content=b'{"data": [' + b"[]," * MAX_VALUES + b"0]}")
    assert (answer.status_code, answer.json()["detail"]) == (413, texts.CALL_MANY.format(n=f"{MAX_VALUES:,}"))
    text = ",[{" * MAX_VALUES + '"'
    assert "characters" in stranger.call("route", text, 4, 0.1).words, "brackets in a text are not values"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"data": ' + b"[" * 100_000, b"data=1"])
def test_invalid_calls_are_rejected_with_a_message(stranger: Stranger, body: bytes) -> None:
    answer = stranger.post(f"{API}/queue/join", content=body)
    assert (answer.status_code, answer.json()["detail"]) in [
        (400, texts.CALL_NOT_JSON),
        (413, texts.CALL_MANY.format(n="50,000")),
    ]


@pytest.mark.parametrize("name", ["x" * 65, "", "a/b", "a b", 7, ["x"], {"x": 1}])
def test_names_of_tabs_are_short(stranger: Stranger, name: object) -> None:
    answer = stranger.post(f"{API}/queue/join", json={"data": [], "fn_index": 0, "session_hash": name})
    assert (answer.status_code, answer.json()["detail"]) == (400, texts.CALL_NAME)


def test_an_upload_has_files_only(stranger: Stranger, app: Running) -> None:
    before = app.files()
    head = b'--edge\r\nContent-Disposition: form-data; name="note"\r\n\r\n'
    with watched(app.folder) as watch:
        answer = stranger.post(f"{API}/upload", content=much(head, MANY_MB), headers=FORM)
    assert (answer.status_code, answer.text) == (400, texts.FILES_ONLY)
    assert watch.grown < MANY_MB / 2
    assert app.files() == before


def test_files_that_have_arrived_are_not_kept_open(stranger: Stranger, app: Running) -> None:
    """A request of 70 kB with a thousand files that never ends must not hold a thousand open files."""
    part = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nx\r\n'
    before, go, asked = app.files(), threading.Event(), threading.Event()

    def held() -> Iterator[bytes]:
        for _ in range(FILES_OF_AN_UPLOAD):
            yield part
        asked.set()
        assert go.wait(120)
        yield b"--edge--\r\n"

    with ThreadPoolExecutor(1) as pool:
        try:
            sent = pool.submit(stranger.post, f"{API}/upload", FORM, content=held())
            assert asked.wait(120)
            wait(lambda: len(set(app.files()) - set(before)) >= FILES_OF_AN_UPLOAD - 1, time.monotonic() + 120)
            wait(lambda: open_files(app.folder) < 3, time.monotonic() + 20)
        finally:
            go.set()
        paths = sent.result().json()
    assert [Path(path).read_bytes() for path in paths] == [b"x"] * FILES_OF_AN_UPLOAD


def test_files_come_back_as_they_were_sent(stranger: Stranger) -> None:
    """A small file is written at once, of a large one only the first part; it is sent whole, or the part that is asked for."""
    for size in (0, 1, 2 * AT_ONCE_BYTES, 2 * AT_ONCE_BYTES + 12_345):
        content = random.Random(size).randbytes(size)
        sent = stranger.upload("a.bin", content)
        assert stranger.get(f"{API}/file={sent['path']}").content == content
    part = stranger.connections.get(f"{stranger.url}{API}/file={sent['path']}", headers={"range": "bytes=1000000-1999999"})
    assert (part.status_code, part.content) == (206, content[1_000_000:2_000_000])


def open_files(folder: Path) -> int:
    """How many files below a folder this process has open."""
    return sum(link.resolve().is_relative_to(folder.resolve()) for link in Path("/proc/self/fd").iterdir())


# Addresses


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """(An address on this machine that Gradio takes for a public one, the paths of the requests to it)."""
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(picture_bytes())

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


def picture_bytes() -> bytes:
    buffer = io.BytesIO()
    picture(7).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_server_fetches_no_address(app: Running, stranger: Stranger, witness: tuple[str, list[str]]) -> None:
    address, heard = witness
    allowed = processing_utils.PUBLIC_HOSTNAME_WHITELIST
    asyncio.run(safehttpx.get(f"{address}/first", domain_whitelist=allowed))
    assert heard == ["/first"], "Gradio's own fetch must reach the witness"

    for number, given in enumerate(
        [
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
        ]
    ):
        answer = stranger.call("index", [given], "")
        if answer.values is not None:  # a file without a name is skipped without a message
            assert number == 8 and answer.values[0]["photos"] == 0
            continue
        assert answer.words in (texts.NO_ADDRESSES, texts.FILE_NOT_YOURS, texts.VALUES_UNUSABLE), number
    for fn in app.page.fns.values():  # every event of the page, with an address for every value
        places = [None if block.stateful else value(f"{address}/event.png") for block in fn.inputs]
        if any(places):
            # The server rejects events that run only in browsers.
            expected = texts.NO_ADDRESSES if fn.fn is not None else texts.CALL_UNKNOWN
            assert stranger.event(fn._id, *places).words == expected
    own = stranger.upload("own.png", picture_bytes())
    answer = stranger.call("index", [{**own, "url": f"{address}/own.png"}], "")
    assert answer.values[0]["added"] == 1, "an address beside an own file must be ignored"
    for route in (f"{API}/file={address}/a.png", f"{API}/file={quote(address, safe='')}/a.png", f"{API}/proxy={address}/a.png"):
        assert stranger.get(route).status_code == 404
    assert heard == ["/first"]


def test_gradio_client_is_told_that_no_address_is_fetched(app: Running, witness: tuple[str, list[str]], tmp_path: Path) -> None:
    address, heard = witness
    client = client_of(app.url, tmp_path)
    with pytest.raises(AppError) as caught:
        client.predict(files=[handle_file(f"{address}/a.png")], captions="", api_name="/index")
    assert texts.NO_ADDRESSES in str(caught.value)
    assert heard == [] or all(path == "/a.png" for path in heard), "only the client itself may fetch the address"


# Files


def test_files_of_the_server_are_never_read(app: Running, stranger: Stranger, tmp_path: Path) -> None:
    visitor = Visitor(app, tmp_path, 1)
    visitor.add()
    _, adapter = visitor.client.predict(description=SENTENCE, api_name="/adapt")
    made = next(path for path in app.files() if path.name == Path(adapter).name)
    secret = tmp_path / "secret.png"
    picture(3).save(secret)
    inside = app.folder / ("f" * 64)
    inside.mkdir()
    (inside / "link.png").symlink_to(secret)
    (app.folder / "linked").symlink_to(tmp_path)
    (app.folder / "piece.png").write_bytes(secret.read_bytes())
    names = [
        "/etc/passwd",
        str(secret),
        str(ROOT / "README.md"),
        str(ROOT / "experts" / "index.json"),
        f"{app.folder}/../../{secret.relative_to(tmp_path.parent)}",
        f"{inside}/../../../secret.png",
        str(inside / "link.png"),
        str(app.folder / "linked" / "secret.png"),
        str(app.folder / "piece.png"),
        f"{secret}\0.png",
        f"{secret}\0",
        f"file://{secret}",
        "secret.png",
        "../secret.png",
        "~/.bashrc",
        str(app.folder),
        str(inside),
        "/",
        ".",
        "",
        "/proc/self/environ",
        "/dev/zero",
        "x" * 100_000,
        str(made),
    ]
    for name in names:
        beside = [value(name, is_stream=True), value(name, url=f"{app.url}{API}/file={secret}")] if name == str(secret) else []
        for given in (value(name), *beside):
            answer = stranger.call("index", [given], "")
            if answer.values is not None:  # hidden files are skipped without a message, before the app looks for them
                assert Path(name).name in ("", ".bashrc") and answer.values[0]["photos"] == 0, name[:200]
                continue
            assert (answer.values, answer.words) in [(None, texts.FILE_NOT_YOURS), (None, texts.NO_ADDRESSES)], name[:200]
        if name not in (str(app.folder / "piece.png"), str(made)):  # these two have names that cannot be guessed
            read = stranger.get(f"{API}/file={quote(name[:5000])}")
            assert (read.status_code, read.text) == (404, texts.NO_SUCH_ROUTE), name[:200]
    assert stranger.call("search", "a cat", SENTENCE, 4, 0.1, 0, None, 10).words.startswith("There are no photos yet")


def test_another_visitors_upload_cannot_be_read(app: Running, stranger: Stranger) -> None:
    owner = Stranger(app.url)
    content = picture_bytes()
    own = owner.upload("own.png", content)
    assert owner.call("index", [own], "").values[0]["added"] == 1
    assert stranger.call("index", [own], "") == Answer(None, texts.FILE_NOT_YOURS)
    assert owner.call("index", [own], "").values[0]["duplicates"] == ["own.png"]
    same = stranger.upload("own.png", content)
    assert same["path"] != own["path"], "equal files must have different paths, or a stranger could guess a path"
    assert stranger.call("index", [same], "").values[0]["added"] == 1
    Path(own["path"]).unlink()
    app.keeper.sweep()
    assert Path(own["path"]).resolve() not in app.page._owners
