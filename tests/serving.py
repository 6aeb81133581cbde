"""The real app in a process of its own, and a browser to look at it; for tests that see the app as people do."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from core.loading import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
START_SECONDS = 90


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """As ``running``; yields the address alone, and in the end the log has no traceback."""
    with running(folder) as (address, _):
        yield address
        assert "Traceback" not in (folder / "log.txt").read_text()


@contextmanager
def running(folder: Path, *flags: str, **surroundings: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """`python app.py`, as a user starts it, with the port from the environment.

    Args:
        folder: where it starts and keeps its files and its log.txt.
        flags: of the command line.
        surroundings: more of the environment.

    Yields:
        the address, and the process; the page answers, the models may still be loading.
    """
    port = free_port()
    log = folder / "log.txt"
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "TMPDIR": str(folder), **surroundings}
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, ROOT / "app.py", *flags], cwd=folder, env=environment, stdout=out, stderr=out
        )
    address = f"http://127.0.0.1:{port}/"
    try:
        wait_for(address, process, log)
        yield address, process
    finally:
        process.terminate()
        process.wait(60)  # a busy machine takes its time


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    """Wait until the page answers.

    Raises:
        RuntimeError: the app ended, or did not answer in time; the text is its log.
    """
    for _ in range(START_SECONDS * 4):
        if process.poll() is not None:
            raise RuntimeError(f"the app ended: {log.read_text()}")
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.25)
    raise RuntimeError(f"no answer in {START_SECONDS} s: {log.read_text()}")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium, which asks nobody for anything on its own."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()
