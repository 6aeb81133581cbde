"""Starts the real app in its own process, and a browser. For tests that use the app as people do."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Frame, Page, Playwright, expect, sync_playwright

from core.common.paths import ROOT

if TYPE_CHECKING:  # most tests here need no Gradio in their own process
    import gradio as gr

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
# Chromium asks Google about form fields and component updates. These flags send such requests to a port without a server.
FLAGS += ["--autofill-server-url=http://127.0.0.1:9/", "--component-updater=url-source=http://127.0.0.1:9/"]
START_SECONDS = 300
PATIENCE_SECONDS = 120  # on a busy machine, a slow answer is not a failure
expect.set_options(timeout=1000 * PATIENCE_SECONDS)
PORTS = range(20_000, 32_000)  # outside the range from which Linux assigns ports automatically
# Gradio logs these two errors on the old page when a reload cuts its event stream.
CUT_BY_A_RELOAD = "signal is aborted without reason", "Connection errored out."
# Until the new page comes, the old one may open another stream. The server deletes its messages at the end of the first one.
LEFT = "Unexpected error 404: Not Found"
# Gradio asks for the progress of an upload, and gets a 404 if the upload does not begin within three seconds. Nothing is lost.
PROGRESS = "/upload_progress?"


def script_errors(page: Page) -> list[str]:
    """A list that receives each error of the page's console and scripts from now on."""
    errors: list[str] = []
    late = 0

    def note(text: str) -> None:
        if not any(words in text for words in CUT_BY_A_RELOAD):
            errors.append(text)

    def logged(message: ConsoleMessage) -> None:
        nonlocal late
        if message.type != "error":
            return
        if PROGRESS in message.location["url"]:
            late += 1  # Chromium logs the 404, and then Gradio logs the response
        elif late and message.text == "Response":
            late -= 1
        else:
            note(message.text)

    def another_page(_: Frame) -> None:
        errors[:] = [text for text in errors if text != LEFT]

    page.on("console", logged)
    page.on("pageerror", lambda e: note(str(e)))
    page.on("framenavigated", another_page)
    return errors


def blank(browser: Browser, address: str, **options: Any) -> tuple[Page, list[str]]:
    """A blank page for a visitor who is new at this address, and the list of its errors. ``options``: as ``new_context``.

    A context without pages is used again if it has these options: its cache has the app's scripts.
    """
    options = {"reduced_motion": "reduce", **options}
    view = options.pop("viewport", {"width": 1280, "height": 900})
    unused = (each for each in browser.contexts if not each.pages and _options.get(each) == options)
    _options[context := next(unused, None) or browser.new_context(**options)] = options
    page = context.new_page()
    if "storage_state" not in options:
        left = {"origin": "/".join(address.split("/")[:3]), "storageTypes": "cookies,local_storage"}
        context.new_cdp_session(page).send("Storage.clearDataForOrigin", left)
    page.set_viewport_size(view)
    context.set_default_timeout(1000 * PATIENCE_SECONDS)  # also of pages that a test opens beside this one
    return page, script_errors(page)


_options = WeakKeyDictionary[BrowserContext, dict[str, Any]]()  # of the contexts that ``blank`` made


def visit(browser: Browser, address: str, **options: Any) -> tuple[Page, list[str]]:
    """Open the page and wait until the models are ready: (page, its list of errors). ``options``: as ``new_context``."""
    page, errors = blank(browser, address, **options)
    page.goto(address)
    expect(page.locator("#status .sg-ready")).to_be_visible(timeout=START_SECONDS * 1000)
    return page, errors


@contextmanager
def serve(folder: Path, within: Sequence[str] = (), flags: Sequence[str] = ("--empty",), **surroundings: str) -> Iterator[str]:
    """As ``running``, but without samples. Yields only the address. At the end, checks that the log has no traceback."""
    with running(folder, *flags, within=within, **surroundings) as (address, _):
        yield address
        assert "Traceback" not in (folder / "log.txt").read_text()


@contextmanager
def running(
    folder: Path, *flags: str, within: Sequence[str] = (), port: int = 0, **surroundings: str
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Run `python app.py` as a user starts it: (address, process). The page already answers; the models may still load.

    ``folder``: the working directory, for the app's files and its log.txt. ``within``: the start of a command that runs the app
    in another network. ``port``: 0: a free one. ``surroundings``: more environment variables.
    """
    port = port or free_port()
    log = folder / "log.txt"
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "TMPDIR": str(folder), **surroundings}
    with log.open("w") as out:
        process = subprocess.Popen(
            [*within, sys.executable, ROOT / "app.py", *flags], cwd=folder, env=environment, stdout=out, stderr=out
        )
    address = f"http://127.0.0.1:{port}/"
    try:
        wait_for(address, process, log, within)
        yield address, process
    finally:
        process.kill()  # an orderly end, as in test_process.py, waits five seconds for streams that clients left open
        process.wait(PATIENCE_SECONDS)


def free_port() -> int:
    """A port without a listener. The system does not assign it to another process during the seconds that the app takes to
    start."""
    while True:
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port := random.SystemRandom().choice(PORTS)))
            return port


def close(page: gr.Blocks) -> None:
    """Stop a page that this process serves, without the five seconds for streams that clients left open."""
    if page.is_running:
        page.server.force_exit = True
    page.close()


def wait_for(address: str, process: subprocess.Popen, log: Path, within: Sequence[str] = ()) -> None:
    """Wait until the page answers inside the app's network. Raises RuntimeError, with the log: when it does not in time."""
    for _ in range(START_SECONDS * 4):
        if process.poll() is not None:
            raise RuntimeError(f"the app ended: {log.read_text()}")
        if answers(address, within):
            return
        time.sleep(0.25)
    raise RuntimeError(f"no answer in {START_SECONDS} s: {log.read_text()}")


def answers(address: str, within: Sequence[str]) -> bool:
    if within:
        code = f"import urllib.request; urllib.request.urlopen({address!r}, timeout=2)"
        return subprocess.run([*within, sys.executable, "-ISc", code], stderr=subprocess.DEVNULL).returncode == 0
    try:
        urllib.request.urlopen(address, timeout=2).close()
        return True
    except OSError:
        return False


@contextmanager
def chromium(within: Sequence[str] = (), playwright: Playwright | None = None) -> Iterator[Browser]:
    """Chromium that sends no requests of its own. ``within``: as for ``running``. ``playwright``: the driver, if this process
    has one. Skips the test where there is no Chromium."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    driver = nullcontext(playwright) if playwright else sync_playwright()
    with tempfile.TemporaryDirectory() as folder, driver as playwright:
        start = Path(folder) / "chromium"
        start.write_text(f'#!/bin/sh\nexec {shlex.join([*within, CHROMIUM])} "$@"\n')
        start.chmod(0o700)
        started = playwright.chromium.launch(executable_path=start if within else CHROMIUM, args=FLAGS)
        yield started
        started.close()
