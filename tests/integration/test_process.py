"""After a crash, the next process deletes the files of the dead process. It does not touch those of living processes."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from argparse import ArgumentTypeError
from pathlib import Path

import httpx
import pytest
from app_process import PATIENCE_SECONDS, running
from app_visitors import client_of
from decode_workers import decode_workers
from filelock import FileLock
from gradio_client import handle_file
from made_up_photos import blurred
from strangers import Stranger

from app.flags import flags, port_number
from app.main import check_address
from app.server.scratch import LOCK, PREFIX, remove_abandoned
from core.common.errors import StudioError
from core.common.paths import ROOT

pytestmark = pytest.mark.slow


def test_killed_or_ended_by_many_signals_it_leaves_nothing(tmp_path: Path) -> None:
    folder, photos = tmp_path / "tmp", blurred(tmp_path, [f"{number}.png" for number in range(60)], 0)
    folder.mkdir()
    (folder / "gradio").touch()  # unusable, like another user's folder of that name
    with running(folder, "--empty") as (address, process):
        client = client_of(address, tmp_path / "downloads")
        answer = client.predict(files=[handle_file(photos[0])], captions="", api_name="/index")
        assert answer["added"] == 1
        client.predict(description="a photo", api_name="/adapt")
        (first,) = folder.glob(f"{PREFIX}*")
        assert first.stat().st_mode & 0o077 == 0, "no other user may read the folder"
        assert {".png", ".zip"} <= {path.suffix for path in first.rglob("*")}
        assert {path.name for path in folder.iterdir()} == {"gradio", "log.txt", first.name}, "all files are in one folder"
        process.kill()
        process.wait()
    assert first.exists(), "a killed process cannot delete its folder"

    with running(folder, "--empty", GRADIO_SERVER_NAME="") as (address, process):  # empty: the usual address
        assert not first.exists()
        (second,) = folder.glob(f"{PREFIX}*")
        client = client_of(address, tmp_path / "downloads")
        assert client.predict(description="a photo", api_name="/route")["experts"]
        job = client.submit(files=[handle_file(photo) for photo in photos], captions="", api_name="/index")
        while not decode_workers(process.pid):
            time.sleep(0.02)
        assert not job.done()
        for _ in range(20):
            process.terminate()
            time.sleep(0.02)
        process.wait(PATIENCE_SECONDS)
        assert process.returncode == 0
    assert not second.exists(), "a process that is asked to end must delete its folder"
    log = (folder / "log.txt").read_text()
    assert "terminate called" not in log and "Traceback" not in log


def test_folders_of_running_processes_and_other_users_stay(tmp_path: Path) -> None:
    living, dead, young, old, other = (tmp_path / name for name in ("a", "b", "c", "d", "e"))
    living, dead, young, old = (tmp_path / f"{PREFIX}{path.name}" for path in (living, dead, young, old))
    for folder in (living, dead, young, old, other):
        folder.mkdir()
        (folder / "photo.jpg").write_bytes(b"somebody's")
    (dead / LOCK).touch()
    os.utime(old, (0, 0))
    with FileLock(living / LOCK):
        remove_abandoned(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {living.name, young.name, other.name}
    remove_abandoned(tmp_path)
    assert not living.exists()


WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-net_bind_service"] if os.geteuid() == 0 else []


def test_a_port_without_rights_is_named(tmp_path: Path) -> None:
    """The app leaves no files and prints no traceback."""
    command = [*WITHOUT_RIGHTS, sys.executable, str(ROOT / "app.py")]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "GRADIO_SERVER_PORT": "80"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 1 and "Cannot listen on 127.0.0.1, port 80" in ended.stderr and "Traceback" not in ended.stderr
    assert list(tmp_path.glob(f"{PREFIX}*")) == []


def test_an_unusable_address_is_named_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for options, variable, port in ((["--port=99999"], "", "99999"), ([], "²", "²")):
        monkeypatch.setattr(sys, "argv", ["app.py", *options])
        monkeypatch.setenv("GRADIO_SERVER_PORT", variable)
        with pytest.raises(SystemExit, match="2"):
            flags()
        assert capsys.readouterr().err.endswith(f"'{port}' is no port: give a number from 1 to 65535\n")
    for text in ("abc", "0", "65536", "-1", "", "1" * 10_000):
        with pytest.raises(ArgumentTypeError, match="is no port"):
            port_number(text)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StudioError, match=rf"Cannot listen on 127.0.0.1, port {port} \(Address already in use\)"):
            check_address("127.0.0.1", port)
    for host in ("192.0.2.1", "no-such-name.invalid", "a..b"):
        with pytest.raises(StudioError, match=re.escape(f"Cannot listen on {host} (")):
            check_address(host, None)


def test_failed_events_cost_the_log_a_line_and_a_closed_terminal_leaves_nothing(tmp_path: Path) -> None:
    """Events that fail for their values, and requests that break HTTP's rules."""
    with running(tmp_path, "--empty", within=["env", "--default-signal=HUP"]) as (url, process):
        stranger, log = Stranger(url), tmp_path / "log.txt"
        assert stranger.call("route", "a dog", 4, 0.1, None).values
        number, values = stranger.click("train", {})
        (k,) = (place for place, value in enumerate(values) if value == 4)
        wrong = [
            [],
            values[:3],
            [None] * len(values),
            [*values[:k], 500, *values[k + 1 :]],
            [*values[:-5], ["no choice"], *values[-4:]],
        ]
        before = len(log.read_text().splitlines())
        for given in wrong:
            assert stranger.event(number, *given).words
        assert stranger.event(number, *values, event_data=None).words
        failed = log.read_text().splitlines()[before:]
        assert 3 <= len([line for line in failed if "an event failed" in line]) == len(failed) <= len(wrong)
        for method in ("HEAD", "TRACE", "POST", "GET"):
            with socket.create_connection((httpx.URL(url).host, httpx.URL(url).port), 60) as connection:
                connection.sendall(
                    f"{method} / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode()
                )
                assert b" 400 " in connection.recv(64)
        assert stranger.call("route", "a dog", 4, 0.1, None).values
        assert len(log.read_text().splitlines()) <= before + len(failed) + 4 * 2
        assert list(tmp_path.glob(f"{PREFIX}*"))
        process.send_signal(signal.SIGHUP)
        process.wait(PATIENCE_SECONDS)
    assert not list(tmp_path.glob(f"{PREFIX}*")) and "Traceback" not in log.read_text()
