"""Requests that cost the server more than the sender: bodies, streams, log lines; and other sites' pages."""

import json
import logging
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from small_page import Small, small
from strangers import API, Stranger, wait

from app.languages import texts, texts_in
from app.main import Printable
from app.server import calls
from app.server.calls import MAX_VALUES, problem
from app.server.hosts import Hosts
from app.server.serve import FILES, allow_open_files

SIZES = (64 * 2**10, 2**20, 4 * 2**20)
SHAPES = {
    "an open quote and escaped ones": lambda n: b'{"data": "' + b'\\"' * (n // 2),
    "quotes": lambda n: b'{"data": [' + b'"a",' * (n // 4) + b'""]}',
    "backslashes": lambda n: b'{"data": "' + b"\\\\" * (n // 2) + b'"}',
    "one long text": lambda n: b'{"data": "' + b"x" * n + b'"}',
    "lists": lambda n: b'{"data": [' + b"[]," * (n // 3) + b"0]}",
    "numbers": lambda n: b'{"data": [' + b"1," * (n // 2) + b"0]}",
    "brackets": lambda n: b"[" * n,
    "open names": lambda n: b'{"a":' * (n // 5),
    "digits": lambda n: b'{"data": ' + b"9" * n + b"}",
    "blanks": lambda n: b" " * n,
    "UTF-16": lambda n: ('{"data": [' + "[]," * (n // 6) + "0]}").encode("utf-16"),
}
PHOTO = {"files": ("a.png", b"x")}


def seconds(body: bytes) -> float:
    """This thread's processor time to check a body, the least of three runs."""
    taken = []
    for _ in range(3):
        begin = time.thread_time()
        problem(body)
        taken.append(time.thread_time() - begin)
    return min(taken)


@pytest.mark.parametrize("shape", SHAPES)
def test_checking_a_body_takes_linear_and_little_time(shape: str) -> None:
    small, medium, large = (seconds(SHAPES[shape](size)) for size in SIZES)
    least = 0.002  # shorter times measure only the clock
    assert medium < 3 * 16 * max(small, least), "the body is 16 times as long"
    assert large < 3 * 4 * max(medium, least), "the body is 4 times as long"
    assert large < 0.5, "as long as this, Python may do nothing else"


def test_json_in_another_encoding_does_not_pass_the_limit_of_values() -> None:
    call = '{"data": [' + "[]," * MAX_VALUES + "0]}"
    for encoding in ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"):
        assert problem(call.encode(encoding)) is not None, encoding
    assert problem(json.dumps({"data": ["ä" * 100, 1.5, None, True, -3, {"a": []}]}).encode()) is None


def test_the_server_answers_others_while_it_looks_at_a_body(app: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, looking, go = calls.problem, threading.Event(), threading.Event()

    def held(body: bytes) -> object:
        looking.set()
        assert go.wait(120)
        return looks(body)

    monkeypatch.setattr(calls, "problem", held)
    with ThreadPoolExecutor(1) as pool:
        try:
            asked = pool.submit(httpx.post, f"{app.url}{API}/queue/join", content=b"{", timeout=120)
            assert looking.wait(120)
            assert httpx.get(f"{app.url}config", timeout=120).status_code == 200
            assert not asked.done()
        finally:
            go.set()
        assert asked.result().status_code == 400


# Streams and their log lines


@pytest.mark.parametrize("route", ["queue/data?session_hash=nobody", "call/count/nothing", "call/v2/count/nothing"])
def test_streams_of_no_call_end(app: Small, route: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture) -> None:
    answer = httpx.get(f"{app.url}{API}/{route}", timeout=120)
    assert "404" in answer.text and len(answer.text) < 200
    assert "Traceback" not in caplog.text + capfd.readouterr().err


def test_streams_closed_early_raise_nothing(app: Small, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture) -> None:
    stranger = Stranger(app.url)
    route = f"GET /{API}/queue/data?session_hash={stranger.session} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    slow = next(number for number, fn in app.page.fns.items() if fn.api_name == "slow")
    body = {"data": [3], "fn_index": slow, "session_hash": stranger.session}
    assert stranger.post(f"{API}/queue/join", json=body).status_code == 200
    with ExitStack() as stack:
        address = "127.0.0.1", httpx.URL(app.url).port
        for stream in [stack.enter_context(socket.create_connection(address, timeout=120)) for _ in range(6)]:
            stream.sendall(route.encode())
            assert stream.recv(100).startswith(b"HTTP/1.1 200")
    wait(
        lambda: len(caplog.records) > 0 or stranger.session not in app.page._queue.pending_messages_per_session,
        time.monotonic() + 60,
    )
    assert Stranger(app.url).call("count").values == [None, 1]
    said = capfd.readouterr().err
    assert "Traceback" not in caplog.text + said and "Exception" not in said
    assert [record for record in caplog.records if record.exc_info] == []
    assert all(len(record.getMessage()) < 300 for record in caplog.records)


def test_a_log_controls_no_terminal() -> None:
    try:
        raise ValueError("\x1b[2J from a visitor")
    except ValueError as error:
        record = logging.makeLogRecord({"levelname": "INFO", "msg": "a call to %s failed", "args": ("\x1b[2J\nINFO fine",)})
        record.exc_info = (type(error), error, error.__traceback__)
    said = Printable("%(levelname)s %(message)s").format(record)
    assert "\x1b" not in said
    assert said.splitlines()[0] == r"INFO a call to \x1b[2J\nINFO fine failed"


@pytest.mark.parametrize("text", ["\x1b[2J", "\x07", "\x7f", "\x9b2J", "\x85"])
def test_no_call_brings_terminal_codes(text: str) -> None:
    """Gradio prints the values that its components reject."""
    for escaped in (True, False):
        for value in (text, {text: 1}):
            assert problem(json.dumps({"data": [value]}, ensure_ascii=escaped).encode()).status_code == 400
    assert problem(json.dumps({"data": ["tab\t, line\n, é, 写真, \xa0"]}).encode()) is None


# Sockets


def test_headers_are_bounded(app: Small) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(app.url).port), timeout=120) as endless:
        endless.sendall(b"GET /config HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 100_000)
        assert endless.recv(100).startswith(b"HTTP/1.1 400")


def test_as_many_files_may_be_open_as_tabs_need() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1_000, before[1]), before[1]))
        allow_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(FILES, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# Other sites' pages


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_other_sites_pages_send_and_read_nothing_at_a_private_server(app: Small, origin: str) -> None:
    before = app.files()
    for route in ("upload", "queue/join", "call/count"):
        answer = Stranger(app.url).post(f"{API}/{route}", files=PHOTO, headers={"origin": origin})
        assert (answer.status_code, answer.json()["detail"]) == (403, texts.FOREIGN_PAGE), route
    assert app.files() == before
    for route in ("", "config", f"{API}/info"):
        answer = httpx.get(f"{app.url}{route}", headers={"origin": origin, "host": "192.168.1.5"}, timeout=120)
        assert (answer.status_code, answer.json()["detail"]) == (403, texts.FOREIGN_PAGE), "Gradio would let the page read it"


def test_the_pages_own_origin_and_public_servers_are_called(app: Small, tmp_path: Path) -> None:
    own = app.url.rstrip("/")
    for headers in ({}, {"origin": own}, {"origin": "https://a.example", "sec-fetch-site": "same-origin"}):
        assert Stranger(app.url).post(f"{API}/upload", files=PHOTO, headers=headers).status_code == 200, headers
    behind = {"origin": "https://photos.example", "host": "photos.example"}
    public = {"origin": "https://somebody.example", "host": "studio.example.org"}
    for hosts, headers in ((Hosts(frozenset({"photos.example"})), behind), (Hosts(private=False), public)):
        with small(tmp_path, hosts=hosts) as other:
            assert Stranger(other.url).post(f"{API}/upload", files=PHOTO, headers=headers).status_code == 200, headers


FOREIGN = ("127.0.0.1.nip.io", "nas.fritz.box", "evil.example", "nas")
MALFORMED = ({"origin": "http://["}, {"origin": "http://a:b"}, {"host": "["}, {"host": "a b"}, {"host": ""})


@pytest.mark.parametrize("name", FOREIGN)
def test_a_private_server_rejects_foreign_hosts(app: Small, name: str) -> None:
    before, port = app.files(), httpx.URL(app.url).port
    for host in (name, f"{name}:{port}", f"{name.upper()}.:{port}"):
        own = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
        for route in ("", "config", f"{API}/info"):
            answer = httpx.get(f"{app.url}{route}", headers=own, timeout=120)
            assert (answer.status_code, answer.json()["detail"]) == (403, texts.UNKNOWN_HOST)
        answer = Stranger(app.url).post(f"{API}/upload", files=PHOTO, headers=own)
        assert (answer.status_code, answer.json()["detail"]) == (403, texts.UNKNOWN_HOST)
    assert app.files() == before


def test_names_that_a_private_server_answers_to() -> None:
    home = Hosts.of("127.0.0.1", ["photos.example"])
    for name in ("127.0.0.1", "::1", "192.168.1.5", "localhost", "a.localhost", "photos.example"):
        assert home.answers_to(name), name
    assert Hosts.of("8.8.8.8").answers_to("evil.example") and not Hosts.of("8.8.8.8").private
    assert Hosts.of("0.0.0.0").private and Hosts.of("192.168.1.5").private and Hosts.of("nas").private


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("headers", MALFORMED)
def test_invalid_hosts_are_rejected_with_a_message(
    app: Small, method: str, headers: dict[str, str], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    answer = httpx.request(method, f"{app.url}{API}/queue/join", headers=headers, timeout=120)
    assert answer.status_code == 400
    assert "Traceback" not in caplog.text + capfd.readouterr().err


def test_messages_are_in_the_language_of_the_browser(app: Small) -> None:
    post = {"content": b'{"data": [{"path": "/etc/passwd"}]}', "timeout": 120}
    for route, tag in ((f"{API}/queue/join", "de"), (f"{API}/call/count", "en")):
        answer = httpx.post(f"{app.url}{route}", headers={"accept-language": "de-CH,de;q=0.9"}, **post)
        assert answer.json()["detail"] == texts_in(tag)["FILE_NOT_YOURS"]


@pytest.mark.parametrize("route", ["cancel", "reset"])
def test_a_page_cancels_an_event_before_it_has_sent_it(app: Small, route: str) -> None:
    body = {"event_id": None, "session_hash": "tab", "fn_index": 1}
    assert httpx.post(f"{app.url}{API}/{route}", json=body, timeout=120).json() == {"success": True}
    assert httpx.post(f"{app.url}{API}/call/count", json=body, timeout=120).status_code == 400


def test_browsers_do_not_guess_content_types(app: Small) -> None:
    for route in ("", "config", "nothing", "robots.txt"):
        assert httpx.get(f"{app.url}{route}", timeout=120).headers["x-content-type-options"] == "nosniff"


@pytest.mark.slow
def test_a_server_starts_though_its_machine_stalls(tmp_path: Path) -> None:
    stalls = iter((0, 4))  # of Gradio's own requests at the start, the second waits for 3 s

    class Stalling(Hosts):
        def answers_to(self, name: str) -> bool:
            time.sleep(next(stalls, 0))
            return super().answers_to(name)

    with small(tmp_path, hosts=Stalling()) as app:
        assert next(stalls, None) is None
        assert Stranger(app.url).call("slow", 0).values == [0]
