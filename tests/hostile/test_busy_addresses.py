"""One address sends too much; a class behind one address, and everybody else, notice nothing."""

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest
from limits import RateLimitItemPerSecond
from small_page import Small
from starlette.responses import PlainTextResponse
from starlette.types import Send
from strangers import API, PLAIN, Stranger, elsewhere, wait

from app.languages import texts
from app.server import calls
from app.server.calls import CALLS, RateLimit
from app.server.mcp import AT_WORK
from app.server.turns import Turns
from app.server.uploads import Uploads
from core.common.errors import StudioError

MCP = True


def test_a_class_of_thirty_behind_one_address_is_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    now, passed = 1_000_000.0, Counter[str]()
    monkeypatch.setattr(time, "time", lambda: now)

    async def app(scope: dict, receive: object, send: object) -> None:
        passed[scope["client"][0]] += 1

    async def sent(message: dict) -> None:
        """A refusal."""

    async def minutes() -> None:
        nonlocal now
        limit = RateLimit(app)

        async def call(address: str, times: int, method: str = "POST", path: str = f"/{API}/queue/join") -> None:
            for _ in range(times):
                await limit({"type": "http", "method": method, "path": path, "headers": [], "client": (address, 1)}, None, sent)

        for second in range(120):
            now += 1
            if second % 60 == 10:  # all open or reload the page in one second
                await call("198.51.100.7", 30, "GET", f"/{API}/heartbeat/x")
                await call("198.51.100.7", 3 * 30)
            await call("198.51.100.7", 2 * 30 // 5)  # searches, whose answer shows something else
            await call("203.0.113.1", 100)
            await call("127.0.0.1", 100)

    asyncio.run(minutes())
    assert passed["198.51.100.7"] == 120 * 12 + 2 * 120
    assert passed["203.0.113.1"] <= 14 * CALLS.amount
    assert passed["127.0.0.1"] <= 14 * CALLS.amount, "a proxy on this machine may report no address"


def test_an_address_fills_only_a_part_of_the_disk() -> None:
    async def app(scope: dict, receive: object, send: Send) -> None:
        await PlainTextResponse("taken")(scope, receive, send)

    uploads = Uploads(app, most=4 * 2**20, could_fit=lambda _: True, count=lambda _: None)

    async def answers(address: str, times: int) -> list[int]:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(uploads, client=(address, 1)), base_url="http://page"
        ) as client:
            files = {"files": ("a.bin", bytes(2**21 - 1_000))}
            return [(await client.post(f"/{API}/upload", files=files)).status_code for _ in range(times)]

    assert asyncio.run(answers("2001:db8::1", 4)) == [200, 200, 200, 429], "6 MB in ten minutes"
    assert asyncio.run(answers("2001:db8:0:99::1", 1)) == [429], "the same /56"
    assert asyncio.run(answers("203.0.113.1", 1)) == [200]
    assert asyncio.run(answers("127.0.0.1", 4)) == [200, 200, 200, 429]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """A tenth of the calls that an address has in ten seconds."""
    monkeypatch.setattr(calls, "CALLS", RateLimitItemPerSecond(few := CALLS.amount // 10, 10))
    return few


def slow(app: Small, seconds: float, sender: Stranger, session: str = "") -> httpx.Response:
    """Join a slow event and do not wait for it."""
    return sender.post(f"{API}/call/slow", json={"data": [seconds], "session_hash": session or sender.session})


def test_events_of_one_address_that_wait_are_counted_until_they_end(app: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether they run, fail, or are dropped because their client is gone."""
    monkeypatch.setattr(calls, "CALLS", RateLimitItemPerSecond(10_000, 10))  # the other limit, of calls in ten seconds
    monkeypatch.setattr(calls, "UNFINISHED", most := 60)
    greedy, honest = (Stranger(app.url, headers=elsewhere()) for _ in range(2))
    first = [slow(app, 120, greedy).status_code for _ in range(most + 20)]
    assert first == [200] * most + [429] * 20
    refused = slow(app, 120, greedy)
    assert refused.json()["detail"] == texts.TOO_MANY_WAIT.format(most=most, n=refused.headers["retry-after"])
    assert honest.call("count").values
    with greedy.connections.stream("GET", f"{app.url}{API}/queue/data?session_hash={greedy.session}") as stream:
        next(stream.iter_lines())  # then the client goes away, and Gradio drops what waits as soon as its turn comes
    app.go.set()
    assert [greedy.call("choose", "no choice").values for _ in range(10)] == [None] * 10
    wait(lambda: slow(app, 0, greedy, "again").status_code == 200, time.monotonic() + 60)
    assert [slow(app, 0, greedy, "again").status_code for _ in range(most - 20)].count(200) >= most - 40
    app.go.clear()


def test_the_next_turn_goes_to_the_address_that_has_waited_longest() -> None:
    """At most two of three turns for one address, in its own order. A training waits once a visitor."""
    greedy, tabs = [f"greedy {n}" for n in range(9)], [f"x {n}" for n in range(4)]
    began, ends = list[str](), {name: threading.Event() for name in (*greedy, *"abc", *tabs)}

    def work(name: str) -> None:
        began.append(name)
        assert ends[name].wait(120), f"{name} was not ended"

    async def begun(*names: str) -> None:
        """Wait until these have begun, in any order, and a little longer: others must not."""
        end = time.monotonic() + 60
        while len(began) < len(names) and time.monotonic() < end:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert sorted(began) == [*names]
        began.clear()

    async def asked() -> None:
        turns = Turns(3, most=2)
        first = [asyncio.ensure_future(turns.run("greedy", partial(work, name))) for name in greedy]
        await begun("greedy 0", "greedy 1")
        others = [asyncio.ensure_future(turns.run(name, partial(work, name))) for name in "abc"]
        await begun("a")
        first[0].cancel()  # its thread goes on, and keeps its turn
        first[2].cancel()
        await begun()
        for ended, then in (("a", ["b"]), ("b", ["c"]), ("c", []), ("greedy 0", ["greedy 3"]), ("greedy 1", ["greedy 4"])):
            ends[ended].set()
            await begun(*then)
        for name in greedy:
            ends[name].set()
        await asyncio.gather(*first, *others, return_exceptions=True)
        assert sorted(began) == greedy[5:]
        began.clear()
        trainings = [asyncio.ensure_future(turns.run("x", partial(work, name), "visitor")) for name in tabs]
        with pytest.raises(StudioError):
            await trainings[3]
        await begun(*tabs[:2])
        for name in tabs:
            ends[name].set()
        await asyncio.gather(*trainings[:3])

    asyncio.run(asked())


@pytest.mark.parametrize("route", ["call/count", "heartbeat/{}", "upload"])
def test_a_flood_of_one_network_is_refused_while_others_are_answered(app: Small, few: int, route: str) -> None:
    """From all addresses of an IPv6 /56, each in a new tab."""
    visitor, network = Stranger(app.url, headers={"x-forwarded-for": "203.0.113.1"}), f"2001:db8:{len(route)}"
    answers = Counter[int]()
    with httpx.Client(**PLAIN) as client, ThreadPoolExecutor(8) as pool:

        def call(number: int) -> None:
            headers = {"x-forwarded-for": f"{network}:{number % 256:x}::1"}
            method, body = ("GET", None) if "heartbeat" in route else ("POST", {"data": [], "session_hash": f"{number}"})
            files = {"files": ("a.bin", b"x")} if route == "upload" else None
            address = f"{app.url}{API}/{route.format(number)}"
            with client.stream(method, address, json=None if files else body, files=files, headers=headers) as answer:
                answers[answer.status_code] += 1
                if answer.status_code == 429:
                    assert texts.TOO_MANY_REQUESTS.format(n=answer.headers["retry-after"]) in answer.read().decode()

        asked = [pool.submit(call, number) for number in range(2 * few)]
        calls = visitor.call("count").values[1]
        assert visitor.call("count").values == [None, calls + 1], "the visitor's tab must still be there"
        for each in asked:
            each.result()
    assert answers.keys() == {200, 429} and answers[200] >= few


def test_waiting_tools_block_neither_the_page_nor_each_other(app: Small) -> None:
    """Gradio keeps one of its 40 threads for each call of a tool."""

    def called(_: int) -> httpx.Response:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "slow", "arguments": {"seconds": 1}}}
        headers = {"accept": "application/json, text/event-stream", **elsewhere()}
        return httpx.post(f"{app.url}{API}/mcp/", json=body, headers=headers, timeout=240)

    with ThreadPoolExecutor(64) as pool:
        asked = [pool.submit(called, number) for number in range(2 * AT_WORK)]
        time.sleep(0.5)
        assert httpx.get(f"{app.url}theme.css", timeout=60).status_code == 200  # Gradio answers it in a thread
        assert not all(each.done() for each in asked)
        assert all('"isError":false' in each.result().text for each in asked)
