"""Attacks on the app, one after the other, and how long an honest visitor beside them waits.

    python benchmarks/attacks.py

It takes less than five minutes. It starts the app on loopback; clients have forwarded addresses, as behind a proxy. It prints
seconds of a search and of the upload of one photo, median and longest, what failed, and how many steps of the attack were
answered and refused. The proxy ends floods and silent connections (tests/integration/test_proxy.py).
"""

from __future__ import annotations

import io
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from PIL import Image

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests/helpers")]

from app_process import running
from make_images import empty_gif, encode, picture
from make_zips import Member, pack
from strangers import API, Stranger

from core.common import markdown

SENTENCE, QUERY = "photos of people surfing", "a man on a wave"
HONEST_PHOTOS, MOST_RESULTS, TRAINED = 20, 100, 30
TRIES = 5
PAUSE_SECONDS, PATIENCE_SECONDS = 0.5, 20  # before each try; to wait for an attack's first calls
REFUSED_SECONDS = 0.05  # a rejected attacker waits so long before it tries again
FAILURES = (AssertionError, RuntimeError, OSError, ValueError, KeyError, httpx.HTTPError)
SETTINGS = (SENTENCE, 4, 0.1, 0, 1.0, MOST_RESULTS)
NO_FILTERS = (None, "", "", "", "")  # repository, folder, days, weights
_number = count()


@dataclass
class Client(Stranger):
    """One visitor with its own photos and its own address."""

    names: set[str] = field(default_factory=set)

    def asked(self, endpoint: str, *values: Any) -> Any:
        """The first value of an answer. Raises RuntimeError: when the answer is an error message."""
        answer = self.call(endpoint, *values)
        if answer.values is None:
            raise RuntimeError(answer.words[:80] or "no answer")
        return answer.values[0]

    def join(self, route: str, body: dict[str, Any]) -> None:
        """Join an event and do not wait for it. Raises HTTPStatusError: when it is refused."""
        self.post(f"{API}/{route}", json=body | {"session_hash": self.session}).raise_for_status()

    def lost(self) -> int:
        """How many of its photos a search no longer finds."""
        answer = self.asked("search", QUERY, *SETTINGS, None, *NO_FILTERS)
        return min(len(self.names), MOST_RESULTS) - len(self.names & {hit["name"] for hit in answer["sg_lora"]})


@dataclass(frozen=True)
class Attack:
    """``begin`` makes an attacker's first step and returns the function for the next ones. ``first``: steps before the row."""

    name: str
    attackers: int
    begin: Callable[[Client], Callable[[], object]]
    first: int = 3


def add(client: Client, caption: str = "") -> None:
    """Index one more photo, a new one each time."""
    number = next(_number)
    name = f"{number}.png"
    client.asked("index", [client.upload(name, encode(picture(number), "PNG"))], caption and f"{name}: {caption}", None, "")
    client.names.add(name)


def flat(side: tuple[int, int], kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", side).save(file, kind, **options)
    return file.getvalue()


def find_by_photo(client: Client) -> Callable[[], object]:
    add(client, "a dog")
    photo = flat((7_000, 4_700), "JPEG", progressive=True, quality=30)
    return lambda: client.asked("search", "", *SETTINGS, client.upload("large.jpg", photo), *NO_FILTERS)


def many_captions(client: Client) -> Callable[[], object]:
    photo, captions = encode(picture(next(_number)), "PNG"), "\n".join(f"a.png: dog {n}" for n in range(100_000))

    def again() -> None:
        client.asked("index", [client.upload("a.png", photo)], captions, None, "")
        client.asked("search", "", *SETTINGS, client.upload("b.png", photo), *NO_FILTERS)

    return again


def empty_photos(client: Client) -> Callable[[], object]:
    photo = flat((7_000, 4_700), "WEBP", lossless=True, method=0)  # 34 bytes; the four from the 22nd on hold both sides
    sides = (((7_000 - n) | 4_700 << 14).to_bytes(4, "little") for n in range(2_000))
    archive = pack(*(Member(f"{n}.webp".encode(), photo[:21] + side + photo[25:]) for n, side in enumerate(sides)))
    return lambda: client.asked("index", [client.upload("a.zip", archive)], "", None, "")


def tabs_of_a_network(client: Client) -> Callable[[], object]:
    def again() -> None:
        number = next(_number)
        client.session = f"tab-{number}"
        client.headers["x-forwarded-for"] = f"2001:db8:1:2::{number:x}"
        add(client)

    return again


def trainings(client: Client) -> Callable[[], object]:
    photos = [client.upload(f"{n}.png", encode(picture(next(_number)), "PNG")) for n in range(TRAINED)]
    client.asked("index", photos, "\n".join(f"{n}.png: number {n}" for n in range(TRAINED)), None, "")
    number, values = client.click("train", {"own-name": "numbers", "own-description": "pictures with a number"})
    return lambda: client.join("queue/join", {"fn_index": number, "data": values})


def calls_without_waiting(client: Client) -> Callable[[], object]:
    return lambda: client.join("call/adapt", {"data": [*SETTINGS[:4], None, None, "whole"]})


def invalid_values(client: Client) -> Callable[[], object]:
    number, _ = client.click("train", {})
    return lambda: client.join("queue/join", {"fn_index": number, "data": []})


def unreadable_photos(client: Client) -> Callable[[], object]:
    archive = pack(*(Member(f"{n}.gif".encode(), empty_gif(7_000 - n, 4_700)) for n in range(2_000)))
    return lambda: client.asked("index", [client.upload("a.zip", archive)], "", None, "")


def tiny_files(client: Client) -> Callable[[], object]:
    def again() -> None:
        files = [("files", (f"{next(_number)}.txt", b"%05d" % next(_number))) for _ in range(950)]
        client.post(f"{API}/upload", files=files).raise_for_status()

    return again


ATTACKS = (
    Attack("search with a photo of 33 megapixels, 11 tabs", 11, find_by_photo),
    Attack("a text of 100,000 captions of one photo", 3, many_captions),
    Attack("ZIPs of 2,000 empty photos of 33 megapixels", 3, empty_photos),
    Attack("24 ZIPs of 2,000 unreadable photos of 33 megapixels", 24, unreadable_photos, 0),
    Attack("tabs with photos of one IPv6 network, 205 and more", 8, tabs_of_a_network, 205),
    Attack("trainings of 30 captioned photos, 4 tabs", 4, trainings, 100),
    Attack("calls of /adapt that do not wait", 4, calls_without_waiting, 400),
    Attack("events with too few values", 4, invalid_values, 400),
    Attack("uploads of 950 files of five bytes, 30 and more", 4, tiny_files, 30),
)


def row_of(honest: Client, name: str) -> list[str]:
    """The row of an attack: seconds of search and upload (median, longest), calls that failed, photos lost."""
    seconds: dict[str, list[float]] = {"search": [], "upload": []}
    failed = lost = 0
    for _ in range(TRIES):
        time.sleep(PAUSE_SECONDS)
        for what, call in (("search", honest.lost), ("upload", lambda: add(honest))):
            begin = time.monotonic()
            try:
                lost = max(lost, call() or 0)
            except FAILURES:
                failed += 1
            seconds[what].append(time.monotonic() - begin)
    return [name, *(f"{median(values):.2f}, {max(values):.2f}" for values in seconds.values()), str(failed), str(lost)]


def beside(honest: Client, number: int, attack: Attack) -> list[str]:
    """The honest visitor's row beside an attack."""
    stop, answers = threading.Event(), Counter[str]()

    def attacking(tab: int) -> None:
        client = Client(honest.url, f"attack-{number}-{tab}", {"x-forwarded-for": f"198.51.100.{number}"})  # one for all tabs
        step: Callable[[], object] | None = None
        while not stop.is_set():
            try:
                step = step or attack.begin(client)
                step()
                answers["answered"] += 1
            except FAILURES as error:
                answers[f"{type(error).__name__}: {error}"[:100]] += 1
                stop.wait(REFUSED_SECONDS)

    with ThreadPoolExecutor(attack.attackers) as pool:
        for tab in range(attack.attackers):
            pool.submit(attacking, tab)
        end = time.monotonic() + PATIENCE_SECONDS
        while answers.total() < attack.first and time.monotonic() < end:
            time.sleep(REFUSED_SECONDS)
        row = row_of(honest, attack.name)
        stop.set()
    print(attack.name, dict(answers.most_common(4)), file=sys.stderr)
    return row


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), "--empty") as (url, _):
        honest = Client(url, "honest", {"x-forwarded-for": "203.0.113.1"})
        for _ in range(HONEST_PHOTOS):  # the first one waits for the models
            add(honest)
        rows = [row_of(honest, "none"), *(beside(honest, n, attack) for n, attack in enumerate(ATTACKS))]
    print(markdown.table(["attack", "search, s", "upload, s", "failed", "photos lost"], rows))


if __name__ == "__main__":
    main()
