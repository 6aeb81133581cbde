"""Strangers call the running app: with odd values in any place, any event, too many calls, and hostile files."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from app_visitors import SENTENCE, Running, launched
from gradio.utils import get_upload_folder
from hostile_cases import check_message
from make_images import picture
from strangers import API, PLAIN, Stranger, elsewhere

from app.languages import texts
from core.sglora.engine import SGLora

MADE = [4, 0.1, 0, None]
GOOD = {
    "route": [SENTENCE, 4, 0.1, None],
    "adapt": [SENTENCE, *MADE, None, "whole", ""],
    "index": [None, "", None, ""],
    "search": ["a dog", SENTENCE, *MADE, 10, None, None, "", "", "", ""],
    "import_adapter": [None, SENTENCE, ""],
    "teach": ["wug", None, "", False, None, ""],
}
HUGE = 10**400
ODD = [None, "5", HUGE, float("nan"), {"a": [1]}, [[[[]]]], -1, True, ["\ud800", None], "x" * 100_000]
EVENT_DATA = [None, {"index": "x", "value": HUGE}, [1], "<b>", {"index": [HUGE, -1], "value": {"a": 1}}, {}]
FILE = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
CONNECTIONS = httpx.Client(**PLAIN)


@pytest.fixture(scope="module")
def app(engine: SGLora, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with launched(engine, tmp_path_factory.mktemp("app")) as running:
        yield running


def anybody(app: Running) -> Stranger:
    """A new stranger with a new address."""
    return Stranger(app.url, headers=elsewhere(), connections=CONNECTIONS)


@pytest.fixture
def stranger(app: Running) -> Iterator[Stranger]:
    """A stranger. After the test, the app must still answer."""
    yield anybody(app)
    assert anybody(app).call("route", *GOOD["route"]).values[0]["experts"]


def check_words(words: str, app: Running) -> None:
    check_message(words, app.folder, Path(get_upload_folder()), Path.home())


# Values


def turned(start: int, count: int) -> list[object]:
    """``count`` consecutive odd values, beginning at ``start``."""
    return [ODD[(start + i) % len(ODD)] for i in range(count)]


@pytest.mark.parametrize("endpoint", GOOD)
def test_an_endpoint_takes_or_refuses_any_value(app: Running, stranger: Stranger, endpoint: str) -> None:
    good = GOOD[endpoint]
    calls = [[*good[:at], odd, *good[at + 1 :]] for at in range(len(good)) for odd in ODD[:5]]
    calls += [turned(start, len(good)) for start in range(len(ODD))]
    calls += [["x" * 1_000_000, *good[1:]], [*good, "more", *ODD], [*good[:-1]], [], [None] * 1000]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda values: anybody(app).call(endpoint, *values), calls))
    for values, answer in zip(calls, answers, strict=True):
        if answer.values is None:
            check_words(answer.words, app)
            assert texts.UNEXPECTED not in answer.words, repr(values)[:200]
    assert sum(answer.values is None for answer in answers) > len(answers) / 4


NAMES = "index", "value", "row_value", "key", "search"  # of the values of a clicked item
CLICKED = "_ask _chosen _details _go _mark _open _original _select _similar _take"  # what handles a clicked item


def test_an_event_of_the_page_takes_or_refuses_any_value(app: Running, caplog: pytest.LogCaptureFixture) -> None:
    events = [(fn._id, len(fn.inputs)) for fn in app.page.fns.values()]
    assert len(events) > 30
    calls = [(number, [None] * count, {"event_data": EVENT_DATA[number % len(EVENT_DATA)]}) for number, count in events]
    calls += [(number, turned(number, count), {"event_data": EVENT_DATA[1 + number % 2]}) for number, count in events]
    # Events that take the clicked item get odd values in its place.
    clicked = [fn for fn in app.page.fns.values() if fn.fn is not None and fn.fn.__name__ in CLICKED.split()]
    assert {fn.fn.__name__ for fn in clicked} >= set(CLICKED.split()) - {"_chosen"}  # without samples
    places = [(fn, [block.stateful for block in fn.inputs]) for fn in clicked]
    calls += [
        (fn._id, [None if state else odd for state in states], {"event_data": dict.fromkeys(NAMES, odd)})
        for fn, states in places
        for odd in [*ODD, -1000, 1000, [], [7], FILE]
    ]
    calls += [(number, [], {"trigger_id": -1, "batched": True, "simple_format": True}) for number, _ in events[::4]]

    def called(call: tuple) -> str:
        number, values, more = call
        answer = anybody(app).event(number, *values, **more)
        return answer.words if answer.values is None else "taken"

    with ThreadPoolExecutor(8) as pool:
        for words in pool.map(called, calls):
            check_words(words, app)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def test_the_server_rejects_events_that_only_browsers_run(app: Running, stranger: Stranger) -> None:
    numbers = [fn._id for fn in app.page.fns.values() if fn.fn is None]
    assert numbers
    assert {stranger.event(number).words for number in numbers} == {texts.VALUES_UNUSABLE}


@pytest.mark.parametrize(
    ("route", "body"),
    [
        *(("queue/join", {"data": [], "fn_index": n, "session_hash": "x"}) for n in (-1, 10**30, "x", 1.5, [1], None)),
        *((f"call/{name}", {"data": []}) for name in ("nothing", "-", "x" * 65, "..", "route%00", "route/x/y")),
        *((f"call/v2/{name}", {}) for name in ("nothing", "x" * 65)),
        *(("call/v2/route", body) for body in ({}, {"k": 4}, {"description": SENTENCE, "more": 1})),
    ],
)
def test_calls_of_what_is_not_there_get_a_message(stranger: Stranger, app: Running, route: str, body: dict) -> None:
    answer = stranger.post(f"{API}/{route}", json=body)
    assert answer.status_code in (400, 404, 422)
    check_words(json.dumps(answer.json()["detail"]), app)


# Files


@pytest.mark.parametrize(
    "name", ["../../evil.png", "..", "/etc/cron.d/evil.png", "a\\..\\evil.png", "<img src=x>.png", "x" * 300 + ".png", "."]
)
def test_names_of_uploads_cannot_leave_the_folder(app: Running, stranger: Stranger, tmp_path: Path, name: str) -> None:
    picture(997).save(tmp_path / "photo.png")
    answer = stranger.post(f"{API}/upload", files={"files": (name, (tmp_path / "photo.png").read_bytes())})
    if answer.status_code != 200:
        check_words(answer.text, app)
        return
    (path,) = answer.json()
    assert Path(path).parent.parent == app.folder
    report = stranger.call("index", [{"path": path, "meta": {"_type": "gradio.FileData"}}], "", None, "").values[0]
    assert report["added"] == 1
    assert Path(path).name == Path(path).name.strip(".") and not set(Path(path).name) & set("<>/\\")
