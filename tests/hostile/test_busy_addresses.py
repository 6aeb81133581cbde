"""One address sends too much; a class behind one address, and everybody else, notice nothing."""

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from small_page import Small
from starlette.responses import PlainTextResponse
from starlette.types import Send
from strangers import API, PLAIN, Stranger

from app.languages import texts
from app.server.calls import CALLS, RateLimit
from app.server.mcp import AT_WORK
from app.server.uploads import Uploads

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
    assert passed["127.0.0.1"] == 12_000, "this machine's own person"


def test_an_address_fills_only_a_part_of_the_disk() -> None:
    async def app(scope: dict, receive: object, send: Send) -> None:
        await PlainTextResponse("taken")(scope, receive, send)

    uploads = Uploads(app, most=4 * 2**20, could_fit=lambda _: True)

    async def answers(address: str, times: int) -> list[int]:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(uploads, client=(address, 1)), base_url="http://page"
        ) as client:
            files = {"files": ("a.bin", bytes(2**21 - 1_000))}
            return [(await client.post(f"/{API}/upload", files=files)).status_code for _ in range(times)]

    assert asyncio.run(answers("2001:db8::1", 4)) == [200, 200, 200, 429], "6 MB in ten minutes"
    assert asyncio.run(answers("2001:db8:0:99::1", 1)) == [429], "the same /56"
    assert asyncio.run(answers("203.0.113.1", 1)) == [200]
    assert asyncio.run(answers("127.0.0.1", 5)) == [200] * 5


@pytest.mark.parametrize("route", ["call/count", "heartbeat/{}", "upload"])
def test_a_flood_of_one_network_is_refused_while_others_are_answered(app: Small, route: str) -> None:
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

        asked = [pool.submit(call, number) for number in range(2 * CALLS.amount)]
        calls = visitor.call("count").values[1]
        assert visitor.call("count").values == [None, calls + 1], "the visitor's tab must still be there"
        for each in asked:
            each.result()
    assert answers.keys() == {200, 429} and answers[200] >= CALLS.amount


def test_waiting_tools_block_neither_the_page_nor_each_other(app: Small) -> None:
    """Gradio keeps one of its 40 threads for each call of a tool."""

    def called(_: int) -> httpx.Response:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "slow", "arguments": {"seconds": 1}}}
        headers = {"accept": "application/json, text/event-stream"}
        return httpx.post(f"{app.url}{API}/mcp/", json=body, headers=headers, timeout=240)

    with ThreadPoolExecutor(64) as pool:
        asked = [pool.submit(called, number) for number in range(2 * AT_WORK)]
        time.sleep(0.5)
        assert httpx.get(f"{app.url}theme.css", timeout=60).status_code == 200  # Gradio answers it in a thread
        assert not all(each.done() for each in asked)
        assert all('"isError":false' in each.result().text for each in asked)
