"""Decoding in separate processes: limits for hostile files, which must not affect other photos."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from make_images import encode, overlapping_tags, picture, png, with_comment, zeros
from PIL import Image

from core.common.errors import PhotoError
from core.common.images import Framing
from core.common.paths import ROOT
from core.common.priority import NICE
from core.data import decode_pool
from core.data.decode import Intake, content_id, source_folder
from core.data.decode_pool import DecodedPhoto, DecodePool, Upload

SEEN = Framing(32, 24)
MEMORY_MB = 1024  # the memory limit of a decoding process
THREADS = ThreadPoolExecutor(64)


@pytest.fixture(scope="module")
def pool() -> DecodePool:
    return DecodePool(1)


def decoded(pool: DecodePool, content: bytes, name: str = "a.jpg") -> DecodedPhoto:
    return pool.decode(Upload(SEEN), name, content)


def asked(pool: DecodePool, upload: Upload, name: str, content: bytes = b"") -> Future[DecodedPhoto]:
    """Decode a photo in a separate thread."""
    return THREADS.submit(pool.decode, upload, name, content)


def children() -> set[int]:
    """The decoding processes of this process."""
    pids: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended meanwhile
            pids |= {int(pid) for pid in (task / "children").read_text().split()}
    return {pid for pid in pids if b"decode_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()}


# Results


def test_a_photo_is_framed_as_pillow_does(pool: DecodePool) -> None:
    image = picture(1, (160, 120))
    photo = decoded(pool, encode(image, "PNG"))
    expected = np.asarray(image.resize((SEEN.width, SEEN.height), Image.Resampling.BICUBIC))
    assert np.array_equal(np.frombuffer(photo.pixels, np.uint8).reshape(SEEN.height, SEEN.width, 3), expected)
    assert Image.open(io.BytesIO(photo.thumbnail)).size == (160, 120)


def test_only_the_date_of_the_metadata_is_kept(pool: DecodePool) -> None:
    exif = Image.Exif()
    exif[0x0132], exif[0x010F] = "2024:05:06 07:08:09", "maker's secret"
    for fmt in ("JPEG", "PNG", "WEBP", "TIFF"):
        photo = decoded(pool, encode(picture(2), fmt, exif=exif))
        assert photo.taken == "2024:05:06 07:08:09", fmt
        assert b"secret" not in photo.thumbnail and b"2024" not in photo.thumbnail
    commented = decoded(pool, with_comment(70_000))
    assert b"ccc" not in commented.thumbnail


# Costs


COSTLY = {
    "overlapping tags": lambda: overlapping_tags(2_000, 2_000_000),
    "64,000,000 x 1": lambda: png(64_000_000, 1, zeros(64_000_001), depth=8, colour=0),
    "1 x 64,000,000": lambda: png(1, 64_000_000, zeros(128_000_000), depth=8, colour=0),
    "64 megapixels of transparency": lambda: png(8_000, 8_000, zeros(8_000 * 32_001), colour=6),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", COSTLY)
def test_a_small_file_takes_neither_much_memory_nor_long(pool: DecodePool, kind: str) -> None:
    before = _peak()
    reason = asked(pool, Upload(SEEN), "hostile.tif", COSTLY[kind]()).exception()
    assert reason is None or str(reason).startswith("hostile.tif: ")
    assert len(decoded(pool, encode(picture(6), "PNG")).pixels) == 3 * SEEN.width * SEEN.height
    assert _peak() - before < 64, "this process must grow by less than 64 MB"
    for pid in children():
        assert int(_status(pid, "VmPeak")) < (MEMORY_MB + 1) * 1024


def _status(pid: int | str, field: str) -> str:
    return Path(f"/proc/{pid}/status").read_text().split(f"{field}:")[1].split()[0]


def _peak() -> int:
    return int(_status("self", "VmHWM")) // 1024


def test_a_process_that_is_killed_costs_its_photo_and_is_replaced() -> None:
    pool = DecodePool(1)
    before = children()
    decoded(pool, encode(picture(7), "PNG"))
    (pid,) = children() - before
    os.kill(pid, signal.SIGSTOP)
    first = asked(pool, Upload(SEEN), "first.png", encode(picture(8), "PNG"))
    while not waiting(pid):  # the stopped process has received the first photo, and does nothing
        time.sleep(0.01)
    second = asked(pool, Upload(SEEN), "second.png", encode(picture(8), "PNG"))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(PhotoError, match=r"first\.png: "):
        first.result()
    assert second.result().thumbnail
    (new,) = children() - before
    assert new != pid


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "WALL_SECONDS", 0.5)
    pool, before = DecodePool(1), children()
    asked(pool, Upload(SEEN), "a.png", encode(picture(9), "PNG")).exception()
    for pid in children() - before:
        os.kill(pid, signal.SIGSTOP)
    if children() - before:
        with pytest.raises(PhotoError, match="takes too long"):
            decoded(pool, encode(picture(9), "PNG"))


def waiting(pid: int) -> int:
    """The number of bytes that were sent to a process, and that it has not read."""
    with Path(f"/proc/{pid}/fd/0").open("rb", buffering=0) as pipe:
        return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


# The order of uploads


class Recorder:
    """Replaces a decoding process. Records the order of the photos, and decodes nothing."""

    def __init__(self, order: list[str], gate: threading.Event) -> None:
        self.order, self.gate = order, gate

    cost, seconds = 0, None

    def decode(self, name: str, content: bytes, framing: Framing, most: int) -> DecodedPhoto:
        self.gate.wait()
        self.order.append(name)
        return DecodedPhoto(b"", b"", None)


def test_decoders_run_at_low_priority(pool: DecodePool) -> None:
    decoded(pool, encode(picture(1), "PNG"))
    own, niceness = os.getpid(), {os.getpriority(os.PRIO_PROCESS, pid) for pid in children()}
    assert niceness == {min(19, os.getpriority(os.PRIO_PROCESS, own) + NICE)}
    # Linux first divides cores between sessions, so decoders stay in the app's session. Ctrl-C reaches a whole process group,
    # so decoders have their own group.
    assert {os.getsid(pid) for pid in children()} == {os.getsid(own)}
    assert os.getpgid(own) not in {os.getpgid(pid) for pid in children()}


def test_a_decoder_whose_app_ended_ends_without_a_trace() -> None:
    content = encode(picture(1, (2000, 1500)), "PNG")
    head = {"name": "a.png", "size": len(content), "framing": [*vars(SEEN).values()], "most": 10**9, "seconds": 10}
    command = [sys.executable, "-m", "core.data.decode_worker"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as worker:
        worker.stdout.close()
        worker.stdin.write(json.dumps(head).encode() + b"\n" + content)
        worker.stdin.close()
        assert worker.stderr.read() == b""


def test_uploads_take_turns_photo_by_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    gate = threading.Event()
    monkeypatch.setattr(decode_pool, "_Process", lambda: Recorder(order, gate))
    pool, large, small = DecodePool(1), Upload(SEEN), Upload(SEEN)
    futures = [asked(pool, large, f"large-{i}") for i in range(20)]
    while large.waiting < 19:
        time.sleep(0.01)
    futures += [asked(pool, small, f"small-{i}") for i in range(3)]
    while small.waiting < 3:
        time.sleep(0.01)
    gate.set()
    for future in futures:
        future.result()
    last = max(order.index(f"small-{i}") for i in range(3))
    assert last <= 6, "three photos wait for at most three photos of the other upload, and the current one"
    assert sorted(order) == sorted([f"large-{i}" for i in range(20)] + [f"small-{i}" for i in range(3)])


def test_a_decoder_without_a_core_costs_an_upload_little_time(pool: DecodePool) -> None:
    """Decoders step back for answers. On a busy machine, visitors would lose photos to the limit of an upload's time."""
    started, upload = children(), Upload(SEEN)
    alone = DecodePool(1)
    alone.decode(upload, "first.png", encode(picture(10), "PNG"))
    (decoder,) = children() - started
    before = upload.seconds
    os.kill(decoder, signal.SIGSTOP)
    threading.Timer(2, os.kill, (decoder, signal.SIGCONT)).start()
    began = time.monotonic()
    alone.decode(upload, "second.png", encode(picture(10), "PNG"))
    wall = time.monotonic() - began
    assert upload.seconds - before < wall / 2


@pytest.mark.parametrize(("photos", "seconds"), [(0, 62), (5_000, 1_201)])
def test_an_upload_has_its_time_which_does_not_grow_without_end(photos: int, seconds: float) -> None:
    with pytest.raises(PhotoError, match=r"last\.png: the upload reached its time limit"):
        DecodePool(1).decode(Upload(SEEN, photos=photos, seconds=seconds), "last.png", b"")


def test_the_pixel_limit_grows_with_the_size_of_the_upload(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "UPLOAD_PIXELS", 3_500_000)
    empty = encode(Image.new("RGB", (1_000, 1_000)), "WEBP", lossless=True)
    assert len(empty) < 200
    small, large = Upload(SEEN), Upload(SEEN)
    errors = [asked(pool, small, f"{i}.webp", empty).exception() for i in range(6)]
    assert [error is None for error in errors] == [True] * 3 + [False] * 3
    assert str(errors[-1]) == "5.webp: the upload has too many pixels for its size; upload this photo separately."
    noise = encode(Image.effect_noise((1_000, 1_000), 90).convert("RGB"), "JPEG")  # as many bytes as a real photo
    assert [asked(pool, large, f"{i}.jpg", noise).exception() for i in range(6)] == [None] * 6


def test_a_closed_intake_decodes_no_more_files() -> None:
    begun: list[str] = []

    def decode(name: str, content: bytes) -> DecodedPhoto:
        begun.append(name)
        return DecodedPhoto(b"", b"", None)

    batches = Intake([(f"{i}.png", b"%d" % i) for i in range(1_000)], decode, lambda _: False, lambda: 1_000, "full").batches()
    first = next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert len(first) <= len(begun) < 200


def test_intake_stops_when_its_visitor_leaves(pool: DecodePool) -> None:
    asked: list[int] = []

    def left() -> bool:
        asked.append(1)
        return len(asked) > 3

    files = [(f"{i}.png", encode(picture(i), "PNG")) for i in range(10)]
    intake = Intake(files, partial(pool.decode, Upload(SEEN)), lambda _: False, lambda: 100, "full", left)
    taken = [photo for batch in intake.batches() for photo in batch]
    assert len(taken) <= 3 and len(asked) == 4


def test_any_error_while_decoding_rejects_only_that_photo() -> None:
    def decode(name: str, content: bytes) -> DecodedPhoto:
        if name == "odd.png":
            raise IndexError("nobody thought of this")
        return DecodedPhoto(b"", b"", None)

    files = [("odd.png", b"1"), ("good.png", b"2")]
    intake = Intake(files, decode, lambda _: False, lambda: 100, "full")
    assert [photo.id for batch in intake.batches() for photo in batch] == [content_id(b"2")]
    assert [failure.name for failure in intake.failed] == ["odd.png"]


def test_the_folder_of_a_source_has_safe_names_alone() -> None:
    for said, folder in (
        ("a/b/c.jpg", "a/b"),
        ("../a/./b\\c.jpg", "a/b"),
        ("/etc/x.jpg", "etc"),
        ("c.jpg", ""),
        ("a\n/c.jpg", "a"),
    ):
        assert source_folder((said, b"")) == folder
    assert source_folder(Path("a/b.jpg")) == ""
