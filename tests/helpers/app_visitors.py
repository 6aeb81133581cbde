"""Runs the app in this process, with several visitors. For tests of how one visitor affects the others."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")  # app.py sets this variable and the next one, too
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", f"{sys.maxsize}")

import gradio as gr
from app_process import PATIENCE_SECONDS, close, free_port
from gradio_client import Client, handle_file

from app.models.engines import Models
from app.page.layout import build
from app.photos.libraries import PhotoLibraries
from app.photos.samples import Samples
from app.server.hosts import Hosts
from app.server.serve import serve
from app.visitors.limits import Limits
from app.visitors.registry import Visitors
from app.visitors.tab import Sources
from app.visitors.visitor import Visitor as Person
from core.data import decode_pool
from core.sglora.engine import SGLora

SENTENCE, QUERY = "photos of people surfing", "water"


@dataclass
class Running:
    """The app in this process. ``folder``: where Gradio keeps its files."""

    url: str
    page: gr.Blocks
    visitors: Visitors
    folder: Path

    @contextmanager
    def limited(self, **limits: float) -> Iterator[None]:
        """Other limits for a while."""
        before = self.visitors.limits
        self.visitors.limits = replace(before, **limits)
        try:
            yield
        finally:
            self.visitors.limits = before

    def idle(self) -> None:
        """Wait until the app has no event for a quarter of a second."""
        quiet = 0
        while quiet < 5:
            time.sleep(0.05)
            quiet = 0 if self.page._queue.event_ids_to_events else quiet + 1

    def sweep(self, keep: float = 0) -> None:
        """Wait until the app is idle. Then sweep as if it kept everything for ``keep`` seconds only."""
        self.idle()
        with self.limited(keep_seconds=keep):
            self.visitors.sweep()

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())


def client_of(url: str, folder: Path, **options: Any) -> Client:
    """A client with timeouts for a busy machine. ``folder``: for downloaded files."""
    options |= {"httpx_kwargs": {"timeout": PATIENCE_SECONDS}}  # httpx's default is five seconds
    options |= {"ssl_verify": False}  # the app serves HTTP, and reading certificates takes longer than a call
    return Client(url, verbose=False, download_files=folder, analytics_enabled=False, **options)


class Visitor:
    """A client of the app, with photos that no other visitor has."""

    def __init__(self, app: Running, folder: Path, number: int) -> None:
        self.app, self.number, self.folder = app, number, folder / f"visitor-{number}"
        self.folder.mkdir()
        self.client = client_of(app.url, self.folder)

    @property
    def person(self) -> Person:
        """What the app keeps of this visitor."""
        return self.app.visitors.visitor(self.client.session_hash)

    def add(self, count: int = 3, side: int = 200) -> None:
        rng, files = np.random.default_rng(self.number), []
        for i in range(count):
            path = self.folder / f"{self.number}-{i}.png"
            Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(path)
            files.append(handle_file(path))
        answer = self.client.predict(files=files, captions="", api_name="/index")
        assert (answer["added"], answer["failed"]) == (count, [])

    def found(self) -> set[str]:
        answer = self.client.predict(query=QUERY, description=SENTENCE, api_name="/search")
        return {hit["name"] for hits in answer.values() if isinstance(hits, list) for hit in hits}

    def names(self, count: int = 3) -> set[str]:
        return {f"{self.number}-{i}.png" for i in range(count)}


def decoded_slowly(patch: pytest.MonkeyPatch) -> list[str]:
    """Decode each photo a tenth of a second later. Returns a list that receives the photos' names."""
    decode, names = decode_pool._Process.decode, list[str]()

    def slow(process: decode_pool._Process, name: str, *rest: Any) -> decode_pool.DecodedPhoto:
        names.append(name)
        time.sleep(0.1)
        return decode(process, name, *rest)

    patch.setattr(decode_pool._Process, "decode", slow)
    return names


@contextmanager
def launched(
    engine: SGLora,
    folder: Path,
    limits: Limits = Limits(),
    libraries: PhotoLibraries | None = None,
    samples: bool = False,
    models: Models | None = None,
    hosts: Hosts = Hosts(),
    mcp: bool = False,
    port: int = 0,
) -> Iterator[Running]:
    """Run the app in this process. ``models``: instead of those with only ``engine``.

    Each app gets its own port. With Gradio's default ports, the next app gets the same port and receives requests for this one.
    """
    patch = pytest.MonkeyPatch()
    patch.setenv("GRADIO_TEMP_DIR", str(folder / "gradio"))
    visitors = Visitors(limits, sources=Sources(libraries or PhotoLibraries(), Samples() if samples else None))
    page, i18n = build(models or Models(lambda: engine), visitors)
    try:
        url = serve(
            page,
            address="127.0.0.1",
            port=port or free_port(),
            hosts=hosts,
            mcp=mcp,
            could_fit=visitors.could_fit,
            count_upload=visitors.count_upload,
            max_upload=limits.upload,
            i18n=i18n,
            wait=False,
        )
        yield Running(url, page, visitors, folder / "gradio")
    finally:
        close(page)
        patch.undo()
