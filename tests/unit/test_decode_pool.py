"""Decoding in separate processes: limits for hostile files, which must not affect other photos."""

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
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from decode_workers import decode_workers
from make_images import encode, overlapping_tags, picture, png, with_comment, zeros
from PIL import Image

from core.common.errors import PhotoError
from core.common.images import Framing
from core.common.paths import ROOT
from core.common.priority import NICE
from core.data import decode_pool
from core.data.decode import read_photo, source_folder
from core.data.decode_pool import DecodedPhoto, Upload
from core.data.read_ahead import THREADS, read_ahead

SEEN = Framing(32, 24)
MEMORY_MB = 1024  # the memory limit of a decoding process
DECODING = ThreadPoolExecutor(8)


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The only decoding process: a new one."""
    before = decode_workers()
    monkeypatch.setattr(decode_pool, "POOL", ThreadPoolExecutor(1))
    decoded(encode(picture(7), "PNG"))
    (pid,) = decode_workers() - before
    yield pid
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def decoded(content: bytes, name: str = "a.jpg") -> DecodedPhoto:
    return Upload(SEEN).decode(name, content)


def asked(name: str, content: bytes) -> Future[DecodedPhoto]:
    """Decode a photo in a separate thread."""
    return DECODING.submit(Upload(SEEN).decode, name, content)


def stop(pid: int) -> None:
    """Stop a process, and wait for that: one that waits for a core would still read what is sent meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    while _status(pid, "State") != "T":
        time.sleep(0.01)


# Results


def test_a_photo_is_framed_as_pillow_does() -> None:
    image = picture(1, (160, 120))
    photo = decoded(encode(image, "PNG"))
    expected = np.asarray(image.resize((SEEN.width, SEEN.height), Image.Resampling.BICUBIC))
    assert np.array_equal(np.frombuffer(photo.pixels, np.uint8).reshape(SEEN.height, SEEN.width, 3), expected)
    assert Image.open(io.BytesIO(photo.thumbnail)).size == (160, 120)


def test_only_the_date_of_the_metadata_is_kept() -> None:
    exif = Image.Exif()
    exif[0x0132], exif[0x010F] = "2024:05:06 07:08:09", "maker's secret"
    for fmt in ("JPEG", "PNG", "WEBP", "TIFF"):
        photo = decoded(encode(picture(2), fmt, exif=exif))
        assert photo.taken == "2024:05:06 07:08:09", fmt
        assert b"secret" not in photo.thumbnail and b"2024" not in photo.thumbnail
    commented = decoded(with_comment(70_000))
    assert b"ccc" not in commented.thumbnail


# Costs


COSTLY = {
    "overlapping tags": lambda: overlapping_tags(2_000, 2_000_000),
    "64 megapixels of transparency": lambda: png(8_000, 8_000, zeros(8_000 * 32_001), colour=6),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", COSTLY)
def test_a_small_file_takes_neither_much_memory_nor_long(kind: str) -> None:
    before = _peak()
    reason = asked("hostile.tif", COSTLY[kind]()).exception()
    assert reason is None or str(reason).startswith("hostile.tif: ")
    assert len(decoded(encode(picture(6), "PNG")).pixels) == 3 * SEEN.width * SEEN.height
    assert _peak() - before < 64, "this process must grow by less than 64 MB"
    for pid in decode_workers():
        assert int(_status(pid, "VmPeak")) < (MEMORY_MB + 1) * 1024


def _status(pid: int | str, field: str) -> str:
    return Path(f"/proc/{pid}/status").read_text().split(f"{field}:")[1].split()[0]


def _peak() -> int:
    return int(_status("self", "VmHWM")) // 1024


def test_a_process_that_is_killed_costs_its_photo_and_is_replaced(decoder: int) -> None:
    before = decode_workers()
    stop(decoder)
    first = asked("first.png", encode(picture(8), "PNG"))
    while not waiting(decoder):  # the stopped process has received the first photo, and does nothing
        time.sleep(0.01)
    second = asked("second.png", encode(picture(8), "PNG"))
    os.kill(decoder, signal.SIGKILL)
    with pytest.raises(PhotoError, match=r"first\.png: "):
        first.result()
    assert second.result().thumbnail
    (new,) = decode_workers() - before
    os.kill(new, signal.SIGKILL)


def test_a_process_that_hangs_is_ended(decoder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "WALL_SECONDS", 0.5)
    stop(decoder)
    with pytest.raises(PhotoError, match="takes too long"):
        decoded(encode(picture(9), "PNG"))


def waiting(pid: int) -> int:
    """The number of bytes that were sent to a process, and that it has not read."""
    with Path(f"/proc/{pid}/fd/0").open("rb", buffering=0) as pipe:
        return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_decoders_run_at_low_priority() -> None:
    decoded(encode(picture(1), "PNG"))
    own, niceness = os.getpid(), {os.getpriority(os.PRIO_PROCESS, pid) for pid in decode_workers()}
    assert niceness == {min(19, os.getpriority(os.PRIO_PROCESS, own) + NICE)}
    # Linux first divides cores between sessions, so decoders stay in the app's session. Ctrl-C reaches a whole process group,
    # so decoders have their own group.
    assert {os.getsid(pid) for pid in decode_workers()} == {os.getsid(own)}
    assert os.getpgid(own) not in {os.getpgid(pid) for pid in decode_workers()}


def test_a_decoder_whose_app_ended_ends_without_a_trace() -> None:
    content = encode(picture(1, (2000, 1500)), "PNG")
    head = {"name": "a.png", "size": len(content), "framing": [*vars(SEEN).values()], "seconds": 10}
    command = [sys.executable, "-m", "core.data.decode_worker"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as worker:
        worker.stdout.close()
        worker.stdin.write(json.dumps(head).encode() + b"\n" + content)
        worker.stdin.close()
        assert worker.stderr.read() == b""


def test_a_large_upload_leaves_turns_to_others(decoder: int) -> None:
    """It has only a few photos waiting at a time."""
    content, upload, order = encode(picture(1), "PNG"), Upload(SEEN), list[str]()
    stop(decoder)

    def decode(name: str) -> None:
        upload.decode(name, content)
        order.append(name)

    large = DECODING.submit(lambda: list(read_ahead([f"large-{i}" for i in range(20)], decode)))
    while upload.photos < THREADS:
        time.sleep(0.01)
    small = DECODING.submit(decode, "small")
    while decode_pool.POOL._work_queue.qsize() < THREADS:  # the small one and all but one of the large ones wait
        time.sleep(0.01)
    os.kill(decoder, signal.SIGCONT)
    large.result(), small.result()
    assert len(order) == 21 and order.index("small") <= 2 * THREADS


def test_a_decoder_without_a_core_costs_an_upload_little_time(decoder: int) -> None:
    """Decoders step back for answers. On a busy machine, visitors would lose photos to the limit of an upload's time."""
    upload, began = Upload(SEEN), time.monotonic()
    stop(decoder)
    threading.Timer(1, os.kill, (decoder, signal.SIGCONT)).start()
    upload.decode("photo.png", encode(picture(10), "PNG"))
    assert upload.seconds < (time.monotonic() - began) / 2


@pytest.mark.parametrize(("photos", "seconds"), [(0, 62), (5_000, 1_201)])
def test_an_upload_has_its_time_which_does_not_grow_without_end(photos: int, seconds: float) -> None:
    with pytest.raises(PhotoError, match=r"last\.png: the upload reached its time limit"):
        Upload(SEEN, photos=photos, seconds=seconds).decode("last.png", b"")


def test_unreadable_files_in_a_row_end_an_upload_and_what_was_read_stays() -> None:
    upload, good, bad, outcomes = Upload(SEEN), encode(picture(1), "PNG"), encode(picture(2), "PNG")[:60], list[str]()
    for content in [good, *[bad] * 49, good, *[bad] * 50, good, bad]:
        try:
            outcomes.append(upload.decode("a.png", content).thumbnail[:3].hex())
        except PhotoError as error:
            outcomes.append(str(error))
    read, ended = "ffd8ff", "a.png: the 50 files before cannot be read; upload the remaining photos separately."
    assert [place for place, outcome in enumerate(outcomes) if outcome == read] == [0, 50]
    assert [place for place, outcome in enumerate(outcomes) if outcome == ended] == [101, 102]


def test_pixels_of_an_upload_are_bounded_by_its_bytes() -> None:
    """A few empty photos are taken, and any number of photos of a camera."""
    content, upload = encode(Image.new("RGB", (5_000, 5_000)), "WEBP", lossless=True, method=0), Upload(SEEN)
    assert len(content) < 100
    for _ in range(13):  # the last one goes beyond 300 megapixels
        assert upload.decode("a.webp", content).area == 25_000_000
    with pytest.raises(PhotoError, match=r"a\.webp: the upload has too many pixels for its size"):
        upload.decode("a.webp", content)
    photo, camera = encode(picture(3, (800, 600)), "JPEG", quality=60), Upload(SEEN, pixels=-decode_pool.UPLOAD_PIXELS)
    assert [camera.decode("a.jpg", photo).area for _ in range(5)] == [480_000] * 5


def test_any_error_while_decoding_rejects_only_that_photo() -> None:
    def decode(name: str, content: bytes) -> DecodedPhoto:
        raise IndexError("nobody thought of this")

    outcome = read_photo("odd.png", b"1", set(), decode)
    assert isinstance(outcome, PhotoError) and str(outcome) == "odd.png: the file cannot be read."


def test_the_folder_of_a_source_has_safe_names_alone() -> None:
    for said, folder in (
        ("a/b/c.jpg", "a/b"),
        ("../a/./b\\c.jpg", "a/b"),
        ("/etc/x.jpg", "etc"),
        ("c.jpg", ""),
        ("a\n/c.jpg", "a"),
    ):
        assert source_folder(said) == folder
