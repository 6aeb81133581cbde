"""One address sends too much; a class behind one address, and everybody else, notice nothing."""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from small_page import Small, small
from starlette.datastructures import Headers
from strangers import API, PLAIN, Stranger, wait

from app import texts
from app.server.mcp_visitors import OWN_AT_WORK
from app.server.rate_limit import CALLS, TABS, Allowances
from app.server.uploads import AT_WORK

MEGABYTES = 1_536  # with the default limit of the disk


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    with small(tmp_path_factory.mktemp("app"), mcp=True) as running:
        yield running


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still."""
    now = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def honest(app: Small) -> Stranger:
    return Stranger(app.url, headers={"x-forwarded-for": "203.0.113.1"})


def sender(address: str) -> SimpleNamespace:
    return SimpleNamespace(client=SimpleNamespace(host=address), headers=Headers())


def test_a_class_of_thirty_behind_one_address_is_never_refused(now: list[float]) -> None:
    allowed, school = Allowances(MEGABYTES), sender("198.51.100.7")
    waits = Counter[str]()
    for second in range(15 * 60):
        now[0] += 1
        for pupil in range(30):
            if second % 600 == 10:  # all open or reload the page in one second
                waits["tab"] += allowed.tab(school, f"{pupil} {second}")
                waits["call"] += sum(allowed.call(school) for _ in range(3))
            if second == 60 + 2 * pupil:
                waits["megabytes"] += allowed.megabytes(school, 50)
            if second % 5 == pupil % 5:  # a search, whose answer shows something else
                waits["call"] += sum(allowed.call(school) for _ in range(2))
                waits["tab"] += allowed.tab(school, f"{pupil} {second // 600 * 600 + 10}")
    assert +waits == Counter()


def test_an_address_that_goes_on_waits_and_others_do_not(now: list[float]) -> None:
    allowed, flood = Allowances(MEGABYTES), sender("198.51.100.7")
    taken = Counter[str]()
    for second in range(3600):
        now[0] += 1
        taken["calls"] += sum(allowed.call(flood) == 0 for _ in range(40))
        taken["tabs"] += sum(allowed.tab(flood, f"{second} {number}") == 0 for number in range(3))
        taken["megabytes"] += 20 * (allowed.megabytes(flood, 20) == 0)
    assert taken["calls"] <= 61 * CALLS[1].amount
    assert taken["tabs"] <= 2 * TABS.amount, "the limiter estimates what lies between two whole hours"
    assert taken["megabytes"] <= 7 * MEGABYTES
    for other in ("203.0.113.1", "127.0.0.1"):
        assert (allowed.call(sender(other)), allowed.tab(sender(other), "x"), allowed.megabytes(sender(other), 500)) == (
            0,
            0,
            0,
        )
    assert [allowed.call(sender("::1")) for _ in range(5_000)] == [0] * 5_000, "this machine's own person"
    seconds = allowed.call(flood)
    assert 1 <= seconds <= 60


def test_a_flood_of_calls_in_new_tabs_is_refused_while_others_are_answered(app: Small) -> None:
    """1,600 calls, each with a new session_hash: once they ended everybody's tabs."""
    visitor = honest(app)
    assert visitor.call("count").values == [None, 1]
    with httpx.Client(**PLAIN, headers={"x-forwarded-for": "198.51.100.1"}) as client, ThreadPoolExecutor(16) as pool:

        def call(number: int) -> httpx.Response:
            return client.post(f"{app.url}{API}/call/count", json={"data": [], "session_hash": f"flood{number}"})

        asked = [pool.submit(call, number) for number in range(1_600)]
        for calls in range(2, 7):
            begin = time.monotonic()
            assert visitor.call("count").values == [None, calls], "the visitor's tab must still be there"
            assert time.monotonic() - begin < 20
        answers = [each.result() for each in asked]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 1_600 - TABS.amount and {answer.status_code for answer in answers} == {200, 429}
    seconds = int(refused[-1].headers["retry-after"])
    assert refused[-1].json()["detail"] == texts.TOO_MANY_REQUESTS.format(n=seconds) and seconds > 0
    assert visitor.call("count").values == [None, 7]


def test_new_tabs_of_one_address_are_bounded(app: Small) -> None:
    """Also by heartbeats, which begin a tab. The address's old tabs go on."""
    mine = Stranger(app.url, headers={"x-forwarded-for": "198.51.100.2"})
    assert mine.call("count").values == [None, 1]
    allowed = [0, 0]
    with httpx.Client(**PLAIN, headers=mine.headers) as client:
        for number in range(TABS.amount + 20):
            with client.stream("GET", f"{app.url}{API}/heartbeat/beat{number}") as answer:
                allowed[answer.status_code == 429] += 1
    assert allowed == [TABS.amount - 1, 21]
    assert mine.call("count").values == [None, 2]
    assert "429" in str(Stranger(app.url, headers=mine.headers).post(f"{API}/call/count", json={"data": []}).status_code)
    assert honest(app).call("count").values == [None, 1]


def test_uploads_of_one_network_cost_others_nothing(app: Small) -> None:
    """240 uploads from one IPv6 /56, all on their way at once."""
    kept = honest(app).upload("kept.bin", b"kept")
    part, end = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n', b"x\r\n--edge--\r\n"
    head = f"POST /{API}/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(part) + len(end)}\r\n"
    head += "Content-Type: multipart/form-data; boundary=edge\r\nX-Forwarded-For: 2001:db8:0:{number:x}::1\r\n\r\n"
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", httpx.URL(app.url).port))) for _ in range(240)]
        for number, each in enumerate(sockets):
            each.sendall(head.replace("{number:x}", f"{number:x}").encode() + part)
        wait(lambda: len(select.select(sockets, [], [], 0)[0]) == 240 - AT_WORK, time.monotonic() + 60)
        mine = honest(app)
        assert mine.call("sizes", [mine.upload("mine.bin", b"mine"), kept], "").values == [[4, 4]]
        for each in sockets:
            each.sendall(end)
        codes = Counter(each.recv(100).split()[1] for each in sockets)
    assert codes == {b"200": AT_WORK, b"429": 240 - AT_WORK}
    assert Path(kept["path"]).read_bytes() == b"kept"


def test_waiting_tools_block_neither_the_page_nor_other_addresses(app: Small) -> None:
    """Gradio keeps one of its 40 threads for each call of a tool."""

    def called(address: str) -> httpx.Response:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "slow", "arguments": {"seconds": 1}}}
        headers = {"accept": "application/json, text/event-stream", "x-forwarded-for": address}
        return httpx.post(f"{app.url}{API}/mcp/", json=body, headers=headers, timeout=240)

    with ThreadPoolExecutor(64) as pool:
        asked = [pool.submit(called, f"192.0.2.{number % 2}") for number in range(48)]
        time.sleep(0.5)
        assert httpx.get(f"{app.url}theme.css", timeout=60).status_code == 200  # Gradio answers it in a thread
        assert '"isError":false' in called("203.0.113.1").text
        codes = Counter(each.result().status_code for each in asked)
    assert codes[200] >= 2 * OWN_AT_WORK and codes[429] >= 16 and codes.total() == 48
