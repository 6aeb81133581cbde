"""Limits for all visitors together: data ends by time, and by memory and disk where an address takes most."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from app_process import PATIENCE_SECONDS
from app_visitors import SENTENCE, Running, Visitor
from gradio_client.exceptions import AppError
from make_images import encode, picture
from strangers import Stranger, wait

from app.actions import answering
from app.answers.question import Asked, Question
from app.languages import texts
from app.page import event
from app.photos import files
from app.visitors import registry
from app.visitors import visitor as one_visitor
from app.visitors.limits import Limits
from app.visitors.registry import Visitors
from app.visitors.visitor import Visitor as Person
from core.common.errors import StudioError
from core.sglora.engine import SGLora
from core.sglora.request import AdapterRequest

HONEST, CROWD = "192.0.2.1", "2001:db8::/56"  # addresses, as ``address_of`` gives them


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where visitors that no app serves have their files."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


def with_photos(everybody: Visitors, engine: SGLora, token: str, address: str = "", photos: int = 1) -> Person:
    person = everybody.visitor(token, address)
    person.gallery(engine).add([(f"{i}.png", encode(picture(i), "PNG")) for i in range(photos)])
    everybody.settle(person)
    return person


def tokens(everybody: Visitors) -> list[str]:
    return [person.token for person in everybody.all()]


# Time


def test_data_ends_by_time(app: Running, tmp_path: Path) -> None:
    # An event of a test before may still end.
    wait(lambda: app.sweep() or not (app.files() or app.visitors.all()), time.monotonic() + PATIENCE_SECONDS)
    stays, leaves = Visitor(app, tmp_path, 1), Visitor(app, tmp_path, 2)
    for visitor in (stays, leaves):
        visitor.add()
        visitor.client.predict(description=SENTENCE, api_name="/adapt")
    assert {path.suffix for path in app.files()} >= {".png", ".zip"}, "photos, and an adapter each"
    left = leaves.person
    left.used -= 3600
    app.sweep(60)
    assert tokens(app.visitors) == [stays.client.session_hash]
    assert (left.photos, left.sessions, left.memory) == ((), set(), 0)
    with stays.person.in_use():
        app.sweep()
    # The app deletes uploads of the visitor who stays, too: it has read them.
    folders = {path.parent.name for path in app.files() if path.suffix == ".png"}
    assert folders == {"photos"}, "nothing ends while an event uses it"
    assert stays.found() == stays.names()
    with pytest.raises(AppError, match="no photos yet"):
        leaves.found()
    leaves.add()
    assert leaves.found() == leaves.names()
    app.sweep()
    assert not app.files()


def test_sweeps_happen_on_their_own(engine: SGLora, folder: Path) -> None:
    everybody = Visitors(Limits(keep_seconds=1))
    with_photos(everybody, engine, "a")
    (folder / "old").mkdir()
    (folder / "old" / "photo.jpg").write_bytes(b"sent")
    everybody.start()
    wait(lambda: not everybody.all() and not any(folder.iterdir()), time.monotonic() + PATIENCE_SECONDS)
    everybody.limits = Limits()  # the thread goes on, in the folder of the tests that follow


# Memory and disk


def test_the_address_that_takes_most_loses_its_longest_unused_visitor(engine: SGLora, folder: Path, app: Running) -> None:
    everybody = Visitors()
    honest = with_photos(everybody, engine, "honest", HONEST)  # the longest unused of all
    crowd = [with_photos(everybody, engine, f"crowd {n}", CROWD) for n in range(4)]

    def must_lose_one() -> None:
        everybody.limits = Limits(memory=sum(person.memory for person in everybody.all()) - 1)

    must_lose_one()
    everybody.settle(crowd[0])  # it was served just now
    assert tokens(everybody) == ["honest", "crowd 0", "crowd 2", "crowd 3"]
    must_lose_one()
    with crowd[0].in_use():
        everybody.settle(honest)
    assert sorted(tokens(everybody)) == ["crowd 0", "crowd 3", "honest"]
    assert (crowd[1].photos, crowd[1].memory, len(crowd[3].photos)) == ((), 0, 1)

    # The same for files. The crowd has two of three, each above what is kept for all.
    for person in everybody.all():
        person.files.write("large", bytes(2**20))
    everybody.limits = Limits(disk=5 * 2**20)
    everybody.make_room_on_disk(crowd[3])
    assert sorted(tokens(everybody)) == ["crowd 3", "honest"]
    assert sorted(path.parent.parent for path in folder.rglob("large")) == sorted(p.files.folder for p in everybody.all())


def test_an_upload_deletes_old_uploads_but_no_visitors_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "UNREAD_SECONDS", 0.3)
    everybody = Visitors(Limits(disk=8 * 2**20))
    kept = everybody.visitor("honest").files.write("adapter.zip", bytes(6 * 2**20))  # more than visitors may keep
    (folder / "old.jpg").write_bytes(bytes(2**20))
    time.sleep(0.4)
    (new := folder / "new.jpg").write_bytes(bytes(2**20))
    now = new.stat().st_ctime + 0.1  # on a slow machine, too
    monkeypatch.setattr(registry, "time", SimpleNamespace(monotonic=time.monotonic, time=lambda: now))
    assert everybody.could_fit(2**20) and (folder / "old.jpg").exists()
    assert everybody.could_fit(5 * 2**19) and not (folder / "old.jpg").exists(), "it fits without the old one"
    for _ in range(3):
        assert not everybody.could_fit(99_999_999_999)
    assert kept.exists() and new.exists() and tokens(everybody) == ["honest"]


def test_tiny_files_count_with_the_blocks_that_they_take(folder: Path) -> None:
    for number in range(300):
        (folder / f"{number}.png").write_bytes(b"x")
    assert not Visitors(Limits(disk=4_000_000)).could_fit(1)


def test_many_small_uploads_make_the_next_one_no_slower(folder: Path, app: Running) -> None:
    """Totals run along. Other code does not see the files; the sweep does, and corrects the totals."""

    def seconds(everybody: Visitors) -> float:
        begin = time.perf_counter()
        for _ in range(100):
            assert everybody.could_fit(2**20)
            everybody.make_room_on_disk()
        return time.perf_counter() - begin

    everybody = Visitors()
    few = min(seconds(everybody) for _ in range(3))
    for number in range(5_000):
        (folder / f"{number}.txt").write_bytes(b"small")
    assert everybody.could_fit(2**20)
    many = min(seconds(everybody) for _ in range(3))
    assert many < 10 * few, "100 walks through 5,000 files take a second"
    room = everybody.limits.disk - everybody.limits.kept_disk
    assert everybody.could_fit(room - 2**20)
    everybody.sweep()
    assert not everybody.could_fit(room - 2**20), "40 MB of blocks"


def test_totals_of_uploads_are_those_of_the_disk(app: Running, tmp_path: Path) -> None:
    """Of taken, refused and aborted uploads, and of what their visitor keeps."""
    app.sweep()
    assert app.visitors.could_fit(1)
    stranger, before = Stranger(app.url), app.visitors._uploads
    for number in range(3):
        stranger.upload(f"{number}.jpg", os.urandom(100_000))
    assert stranger.post("gradio_api/upload", data={"files": "no file"}, files={"x": b"y"}).status_code == 400
    assert app.visitors._uploads - before == pytest.approx(3 * (100_000 + 8 * 2**10), rel=0.01)
    person = Visitor(app, tmp_path, 6)
    person.add()
    person.found()
    (mine,) = (each for each in app.visitors.all() if each.photos)
    assert mine.files.bytes == sum(path.stat().st_size + 8 * 2**10 for path in mine.files.folder.rglob("*") if path.is_file())
    mine.remove([photo.id for photo in mine.photos])
    mine.take_back()
    mine.remove([mine.photos[0].id])
    mine.removed = ()
    mine.delete_unused_files()
    assert mine.files.bytes == sum(path.stat().st_size + 8 * 2**10 for path in mine.files.folder.rglob("*") if path.is_file())


def test_a_small_disk_takes_what_fits_and_no_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage, megabyte = shutil.disk_usage(folder), 2**20
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage.__class__(60 * megabyte, 0, 60 * megabyte))
    assert Visitors().could_fit(20 * megabyte) and not Visitors().could_fit(30 * megabyte)


def test_uploads_of_one_network_fill_the_disk_alone(app: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app.sweep()
    honest = Visitor(app, tmp_path, 5)
    honest.add()
    with app.limited(disk=12 * 2**20):
        answers, crowd = [], Stranger(app.url)
        for number in range(24):
            crowd.headers = {"x-forwarded-for": f"2001:db8:0:{number:x}::1"}
            answers.append(crowd.post("gradio_api/upload", files={"files": ("a.jpg", os.urandom(2**19))}))
        assert {answer.status_code for answer in answers} == {200, 507}
        assert answers[-1].text == texts.DISK_FULL
        assert honest.found() == honest.names()
        assert sum(path.stat().st_size for path in app.files()) <= 12 * 2**20
    monkeypatch.setattr(registry, "UNREAD_SECONDS", 0)
    with app.limited(disk=12 * 2**20):
        assert honest.client.predict(description=SENTENCE, api_name="/adapt")
        assert crowd.post("gradio_api/upload", files={"files": ("a.jpg", bytes(2**19))}).status_code == 200


def test_a_client_with_six_calls_at_a_time_fetches_every_download(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person = Person()

    def fetched(number: int) -> bytes:
        path = person.files.write("adapter.zip", b"%d" % number)
        time.sleep(0.01)  # until the client has the answer with the link
        return path.read_bytes()

    with ThreadPoolExecutor(6) as calls:
        assert list(calls.map(fetched, range(200))) == [b"%d" % number for number in range(200)]
    large = [person.files.write("photos.zip", bytes(files.YOUNG_BYTES // 2)) for _ in range(4)]
    assert [path.exists() for path in large] == [False, True, True, True] and not list(folder.rglob("adapter.zip"))
    person.close()
    old = [person.files.write("names.zip", b"") for _ in range(5)]
    monkeypatch.setattr(files, "YOUNG_SECONDS", 0)
    assert all(path.exists() for path in old) and person.files.new("another.zip").parent.exists()
    assert [path.exists() for path in old] == [False, False, False, True, True]


# Tabs


def test_the_notice_about_lost_photos_comes_once(app: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that loads twice after a restart shows it again. A later reload or tab does not."""
    kept, seen = {"token": "0" * 32, "has": True}, list[bool]()
    for seconds in (10, 10, 0, 0):
        monkeypatch.setattr(event, "NOTICE_SECONDS", seconds)
        page = Stranger(app.url)
        config = page.get("config").json()
        (memory,) = (part["id"] for part in config["components"] if part["props"].get("storage_key") == "sg-lora-studio")
        number, values = page.click("clear", {})
        (inputs, outputs) = next((e["inputs"], e["outputs"]) for e in config["dependencies"] if e["id"] == number)
        values[inputs.index(memory)] = kept
        answer = page.event(number, *values)
        seen.append("was restarted" in answer.words)
        update = answer.values[outputs.index(memory)]
        kept = update if "token" in update else kept
    assert seen == [True, True, False, False]


def test_a_newcomer_beyond_the_most_visitors_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "REMEMBERED", 2)
    everybody = Visitors()
    with everybody.visitor("a").in_use(), everybody.visitor("b").in_use():
        newcomer = everybody.visitor("c")  # all others are being served: none of them ends
        assert everybody.visitor("c") is newcomer and tokens(everybody) == ["a", "b", "c"]
    assert everybody.visitor("d") in everybody.all() and newcomer not in everybody.all(), "the longest unused one ends"


def test_a_tab_beyond_the_most_loses_its_answer_alone(engine: SGLora, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MOST_TABS", 2)
    monkeypatch.setattr(registry, "REMEMBERED", 4)
    everybody = Visitors()
    person = with_photos(everybody, engine, "a")
    everybody.tab("before a reload", "a")
    everybody.leave("before a reload")
    person.last_left -= 60
    tab, _ = everybody.tab("first", "a")
    answering.answer(engine, tab, Asked(Question.words("water"), AdapterRequest(SENTENCE)))
    assert tab.comparison is not None
    for number in range(9):
        everybody.tab(f"other {number}")
    assert everybody.find_tab("first") is None
    assert len(everybody.all()) == 4
    assert everybody.visitor("a") is person and len(person.photos) == 1
    assert not person.deserted, "its page is still open, so photos are still added"
    again, new = everybody.tab("first", "a")
    assert (again.visitor, again.comparison, new) == (person, None, True)


def test_events_that_come_at_once_share_one_new_tab(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of a page that opens on a slow machine: one of them tells that photos are lost."""

    def slow(*values: Any) -> Person:
        time.sleep(0.2)
        return Person(*values)

    monkeypatch.setattr(registry, "Visitor", slow)
    everybody = Visitors()
    for token in ("", "0" * 32):
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(everybody.tab, [f"session {token}"] * 4, [token] * 4))
        assert len({id(tab) for tab, _ in found}) == 1
        assert sorted(new for _, new in found) == [False, False, False, True]
    assert len(everybody.all()) == 2


def test_only_the_token_brings_a_visitor_back(app: Running) -> None:
    """The token is not the session, which is in the addresses of requests."""
    (load,) = (event["id"] for event in app.page.config["dependencies"] if event["targets"][0][1] == "load")
    controls = [component.value for component in app.page.fns[load].inputs[2:]]

    def opened(session: str, memory: object) -> Person:
        """The visitor of a browser that remembers ``memory``."""
        assert Stranger(app.url, session).event(load, None, memory, *controls).values is not None
        return app.visitors.find_tab(session).visitor

    first = opened("first", None)
    assert len(first.token) > 20 and opened("first", None) is first
    assert opened("second", {"token": first.token, "has": False}) is first
    for number, memory in enumerate((None, {}, {"token": "first"}, {"token": 3}, "first", [first.token])):
        assert opened(f"guess-{number}", memory) is not first


def test_adding_stops_ten_seconds_after_the_last_tab(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """test_faults.py has uploads that end."""
    everybody, now = Visitors(), time.monotonic()
    clock = SimpleNamespace(**vars(time) | {"monotonic": lambda: now})
    monkeypatch.setattr(registry, "time", clock)
    monkeypatch.setattr(one_visitor, "time", clock)
    person = everybody.tab("a", "token")[0].visitor
    everybody.tab("b", "token")
    everybody.leave("a")
    now += 3600
    assert not person.deserted, "another tab is open"
    everybody.leave("b")
    now += 9
    assert not person.deserted
    now += 2
    assert person.deserted
    everybody.tab("reloaded", "token")
    assert not person.deserted


# Limits


def test_limits_come_from_the_environment() -> None:
    values = {"SG_LORA_KEEP_MINUTES": "0.5", "SG_LORA_MEMORY_MB": "3", "SG_LORA_DISK_MB": "2.5"}
    assert Limits.from_environment(values) == Limits(30, 3 * 2**20, 5 * 2**19)
    assert Limits.from_environment({}) == Limits()


@pytest.mark.parametrize("value", ["-1", "0", "soon", "nan", "inf", "1e306"])
def test_invalid_limits_are_rejected_by_name(value: str) -> None:
    with pytest.raises(StudioError, match="SG_LORA_DISK_MB"):
        Limits.from_environment({"SG_LORA_DISK_MB": value})
