"""The nginx configuration of docs/operations.md: a real nginx runs it before the app."""

import json
import os
import re
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from app_process import PATIENCE_SECONDS, free_port, serve
from make_images import empty_gif, encode, picture
from make_zips import Member, pack
from strangers import API, Stranger, wait

from app.languages import texts
from core.common.paths import ROOT

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")  # users' PATH may lack it
pytestmark = [pytest.mark.slow, pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: apt install nginx)")]
CONFIGURATION = re.findall(r"^```nginx\n(.*?)^```$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE | re.DOTALL)
AROUND = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events { worker_connections 8192; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
    set_real_ip_from 127.0.0.1;
    real_ip_header Test-Address;
    include photos.conf;
}
"""
FLOODING, PACKING, TRAINING, SILENT, HONEST = (f"127.0.0.{number}" for number in range(2, 7))
SILENT_CONNECTIONS, FLOODERS, LONGEST_FLOOD = 300, 60, 20_000
AT_ONCE, EACH_SECOND = 50, 5  # pages that an address gets, with ten to spare
SEARCH_SECONDS, VISITS = 3, 3
TRAINED, TRAINING_SECONDS = 20, 60  # photos; two trainings on a busy machine, not five
CONNECTIONS = 420  # of one client at once; 400 are allowed
ROUTE = ["photos of people surfing", 4, 0.1, None]
SEARCH = ["water", *ROUTE[:3], 0, None, 10, None, None, "", "", "", ""]


@contextmanager
def nginx(folder: Path, app_port: int) -> Iterator[str]:
    """Run the documented configuration on a free port. Yields the proxy's address. An address of 127.0.0.1 may claim to be
    another one in the header Test-Address."""
    port, (site,) = free_port(), CONFIGURATION
    site = site.replace("listen [::]:80;", "").replace("listen 80;", f"listen 127.0.0.1:{port};").replace("7860", str(app_port))
    (folder / "photos.conf").write_text(site)
    (folder / "nginx.conf").write_text(AROUND)
    with (folder / "nginx.log").open("w") as log:
        process = subprocess.Popen([NGINX, "-p", folder, "-c", folder / "nginx.conf"], stderr=log)
    try:
        wait(lambda: process.poll() is not None or listens(port), time.monotonic() + PATIENCE_SECONDS)
        assert process.poll() is None, (folder / "nginx.log").read_text()
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Echo(BaseHTTPRequestHandler):
    """Answers POST with the headers of the request. A GET stays open until the client leaves."""

    def do_GET(self) -> None:
        self.rfile.read()

    def do_POST(self) -> None:
        left = int(self.headers["content-length"])
        while left:
            left -= len(self.rfile.read(min(left, 2**20)))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({name.lower(): value for name, value in self.headers.items()}).encode())

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a proxy before a server that answers with the headers it got."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with nginx(tmp_path_factory.mktemp("nginx"), server.server_port) as address:
            yield address
        server.shutdown()


def test_the_app_gets_the_clients_address_and_host_and_no_other_host(echo: str) -> None:
    sent = {"host": "photos.example.org", "x-forwarded-host": "evil.example", "x-forwarded-for": "203.0.113.1"}
    got = httpx.post(f"{echo}{API}/queue/join", headers=sent).json()
    assert got["host"] == "photos.example.org"
    assert "x-forwarded-host" not in got
    assert got["x-forwarded-for"] == "203.0.113.1, 127.0.0.1"


@pytest.mark.parametrize(("route", "megabytes", "status"), [("upload", 5, 200), ("upload", 201, 413), ("queue/join", 5, 413)])
def test_only_uploads_are_large(echo: str, route: str, megabytes: int, status: int) -> None:
    with opened(echo) as connection:
        connection.sendall(request(echo, f"POST /{API}/{route}", f"Content-Length: {megabytes * 2**20}"))
        if status == 200:
            connection.sendall(bytes(megabytes * 2**20))
        assert status_of(connection) == status


def test_a_network_of_ipv6_is_one_client(echo: str) -> None:
    """All addresses of a /56 share a limit. The next /56 has its own. It is one of open connections: a slow machine does not
    reach one of calls a second."""
    with ExitStack() as stack:

        def ask(address: str, method: str) -> socket.socket:
            connection = stack.enter_context(opened(echo))
            connection.sendall(request(echo, f"{method} /{API}/queue/data", f"Test-Address: {address}", "Content-Length: 0"))
            return connection

        for n in range(CONNECTIONS):
            ask(f"2001:db8:0:1{n % 256:02x}::{n:x}", "GET")
        assert status_of(ask("2001:db8:0:1ff::ffff", "POST")) == 429
        assert status_of(ask("2001:db8:0:200::1", "POST")) == 200


def opened(address: str, source: str = "127.0.0.1") -> socket.socket:
    url = httpx.URL(address)
    return socket.create_connection((url.host, url.port), PATIENCE_SECONDS, (source, 0))


def request(address: str, line: str, *headers: str) -> bytes:
    return "\r\n".join((f"{line} HTTP/1.1", f"Host: {httpx.URL(address).netloc.decode()}", *headers, "", "")).encode()


def status_of(connection: socket.socket) -> int:
    return int(connection.recv(64).split()[1])


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(tmp_path_factory.mktemp("app")) as app, nginx(tmp_path_factory.mktemp("nginx"), httpx.URL(app).port) as address:
        assert visitor(address, HONEST).call("route", *ROUTE).values  # the models are loaded
        yield address


def visitor(address: str, source: str) -> Stranger:
    transport = httpx.HTTPTransport(local_address=source)
    return Stranger(address, connections=httpx.Client(transport=transport, timeout=PATIENCE_SECONDS))


def searched(honest: Stranger) -> float:
    """Open the page with its files, add two photos and search them. Returns the seconds of the search."""
    page = honest.get("")
    assert page.status_code == 200
    files = set(re.findall(r'(?:src|href)="(?:\./|/)?(assets/[^"]+)"', page.text))
    assert files
    for file in files:
        assert honest.get(file).status_code == 200
    photos = [honest.upload(f"{n}.png", encode(picture(n), "PNG")) for n in range(2)]
    assert honest.call("index", photos, "", None, "").values[0]["added"] == 2
    begin = time.monotonic()
    found = honest.call("search", *SEARCH).values
    seconds = time.monotonic() - begin
    assert {hit["name"] for hit in found[0]["sg_lora"]} == {"0.png", "1.png"}
    return seconds


@contextmanager
def flooded(address: str) -> Iterator[list[int]]:
    """Many clients of one address open pages and call, each call from a new tab, without a pause. Yields a list that receives
    the statuses of the pages."""
    stop, numbers, pages = threading.Event(), iter(range(LONGEST_FLOOD)), list[int]()

    def flood() -> None:
        for number in numbers:
            body = json.dumps({"data": ROUTE, "session_hash": f"tab{number}"}).encode()
            headers = ("Content-Type: application/json", f"Content-Length: {len(body)}")
            call, page = request(address, f"POST /{API}/call/route", *headers) + body, request(address, "GET /")
            for sent in (call, page):
                with opened(address, FLOODING) as connection:
                    connection.sendall(sent)
                    while not (select.select([connection], [], [], 0.1)[0] or stop.is_set()):
                        pass  # nginx delays the answer
                    if sent is page and not stop.is_set():
                        pages.append(status_of(connection))
            if stop.is_set():
                return

    with ThreadPoolExecutor(FLOODERS) as pool:
        flooding = [pool.submit(flood) for _ in range(FLOODERS)]
        try:
            wait(lambda: next(numbers) > 2 * FLOODERS, time.monotonic() + PATIENCE_SECONDS)
            yield pages
            assert not any(flooder.done() for flooder in flooding), "the flood must not end before the visit"
        finally:
            stop.set()


def test_a_visitor_searches_beside_a_flood_of_one_address_and_silent_connections_which_end(proxy: str) -> None:
    begin = time.monotonic()
    with ExitStack() as stack:
        with flooded(proxy) as pages:
            silent = [stack.enter_context(opened(proxy, SILENT)) for _ in range(SILENT_CONNECTIONS)]
            for connection in silent:
                connection.sendall(b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: 127")
            for _ in range(VISITS):
                searched(visitor(proxy, HONEST))
            assert 0 < pages.count(200) <= AT_ONCE + EACH_SECOND * (time.monotonic() - begin)
        with suppress(ConnectionResetError):
            assert silent[-1].recv(64) == b""


def captioned(address: str, source: str) -> Stranger:
    """A visitor with photos to train on."""
    made = visitor(address, source)
    photos = [made.upload(f"{n}.png", encode(picture(n), "PNG")) for n in range(TRAINED)]
    lines = "\n".join(f"{n}.png: a picture with the number {n}" for n in range(TRAINED))
    assert made.call("index", photos, lines, None, "").values[0]["captioned"] == TRAINED
    return made


def test_a_visitor_uploads_beside_archives_of_one_address(proxy: str) -> None:
    """Each has 2,000 files of 34 bytes that claim 33 megapixels."""
    archive = pack(*(Member(f"{n}.gif".encode(), empty_gif(7_000 - n, 4_700)) for n in range(2_000)))

    def attack(_: int) -> dict:
        sender = visitor(proxy, PACKING)
        return sender.call("index", [sender.upload("a.zip", archive)], "", None, "").values[0]

    with ThreadPoolExecutor(8) as pool:
        reports = [pool.submit(attack, number) for number in range(8)]
        for number in range(VISITS):
            honest = visitor(proxy, HONEST)
            photos = [honest.upload(f"{n}.png", encode(picture(10 * number + n), "PNG")) for n in range(3)]
            assert honest.call("index", photos, "", None, "").values[0]["added"] == 3
            assert not all(report.done() for report in reports)
    for report in reports:
        assert (report.result()["added"], len(report.result()["failed"])) == (0, 2_000)
        assert "upload the remaining photos separately" in report.result()["failed"][-1]["reason"]


def test_trainings_of_one_address_delay_no_other_address(proxy: str) -> None:
    """Of four visitors behind it, each may have one that waits, and another address gets the next turn."""
    own, *tabs = [captioned(proxy, HONEST), *(captioned(proxy, TRAINING) for _ in range(4))]
    number, values = own.click("train", {"own-name": "numbers", "own-description": "pictures with a number"})

    def join(tab: Stranger) -> int:
        body = {"data": values, "fn_index": number, "session_hash": tab.session}
        return tab.post(f"{API}/queue/join", json=body).status_code

    with ThreadPoolExecutor(4) as pool:
        assert 200 in set(pool.map(join, tabs * 20))
    assert all(searched(visitor(proxy, HONEST)) < SEARCH_SECONDS for _ in range(VISITS))
    with tabs[0].connections.stream("GET", f"{proxy}{API}/queue/data?session_hash={tabs[0].session}") as stream:
        assert any(escape(texts.ONE_WAITS, quote=False) in line for line in stream.iter_lines())
    for each in tabs:
        join(each)
    begin = time.monotonic()
    assert "numbers" in json.dumps(own.event(number, *values).values)
    assert time.monotonic() - begin < TRAINING_SECONDS
