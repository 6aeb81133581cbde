"""What this app replaces in Gradio, besides the blocks of its page (``GuardedBlocks``)."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import anyio
import gradio as gr
from fastapi.dependencies import utils
from gradio import blocks, http_server, processing_utils, queueing, route_utils, routes
from gradio.components import Component
from gradio.route_utils import STATIC_TEMPLATE_LIB
from gradio.state_holder import StateHolder
from gradio.utils import LRUCache
from jinja2 import FileSystemLoader
from starlette import responses
from starlette.formparsers import MultiPartException
from starlette.responses import FileResponse

from app import texts
from app.http.connections import BoundedServer
from app.http.fair_queue import FairQueue
from app.http.guarded_blocks import refuse_address

PREVIEW = re.compile(r'(?P<begin><meta\s+(?:property|name)="(?:og|twitter):(?P<what>\w+)"\s+content=)"[^"]*"\s*/>')
AT_ONCE_BYTES = 2**20  # of an upload
UPLOADS = 1000  # uploads at once whose progress is remembered
LANGUAGE = 'lang="{{ config.language }}" dir="ltr"'
GRADIOS_LANGUAGE = '<script>Object.defineProperty(navigator, "language", { value: document.documentElement.lang });</script>'
WITHOUT_FILES = (gr.Textbox, gr.Slider, gr.Number, gr.Checkbox, gr.Radio, gr.Dropdown, gr.State, gr.JSON, gr.HTML, gr.Markdown)


def set_root(config: dict[str, Any], root: str) -> dict[str, Any]:
    """Replaces Gradio's function, which looks for files in the whole configuration. This page begins without any."""
    config["root"] = root
    return config


class OurPages(FileSystemLoader):
    """The pages that a browser gets. Gradio's pages claim to be English, then take the browser's language, translated or not.
    Their previews elsewhere are fixed and about Gradio."""

    def get_source(self, environment: Any, template: str) -> Any:
        source, *others = super().get_source(environment, template)
        for gradios, ours in (('lang="en"', LANGUAGE), ("<head>", f"<head>{GRADIOS_LANGUAGE}")):
            source = source.replace(gradios, ours, 1)
        return PREVIEW.sub(_preview, source), *others


def _preview(tag: re.Match[str]) -> str:
    words = {"title": "{{ texts.TITLE }}", "description": "{{ texts.TAGLINE }}"}.get(tag["what"])
    return "" if words is None else f'{tag["begin"]}"{words}" />'


class OwnUpload(route_utils.GradioUploadFile):
    """An upload with its own path. Gradio's path is a hash of the content: two visitors with equal files would share one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sha.update(secrets.token_bytes(32))

    async def write(self, data: bytes) -> None:
        """Write the first part of a file at once: under load, waiting for a thread takes a hundred times longer. A slow disk
        that takes a large file keeps only a thread waiting."""
        if self.size is None or self.size > AT_ONCE_BYTES:
            await super().write(data)
        else:
            self.size += self.file.write(data)

    async def seek(self, offset: int) -> None:
        """Close the file, which is complete here: Gradio moves it by its name. A request may have a thousand files, and a few
        slow requests would keep so many open that the server could open no more."""
        self.file.close()


class FilesOnly(route_utils.GradioMultiPartParser):
    """Reads uploads. Gradio keeps fields that are no files in memory, however large they are."""

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if self._current_part.file is None:
            raise MultiPartException(texts.FILES_ONLY)


class _Signals(LRUCache):
    def __missing__(self, name: str) -> asyncio.Event:
        self[name] = signal = asyncio.Event()
        return signal


class LastUploads(route_utils.FileUploadProgress):
    """The progress of the last uploads. Gradio remembers every name that anybody asks for."""

    def __init__(self) -> None:
        super().__init__()
        self._statuses, self._signals = LRUCache(UPLOADS), _Signals(UPLOADS)


async def at_once(work: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Stands for functions that run work in threads, where the work is only a look at a value."""
    return work(*args, **options)


class OpenFile:
    """A file for anyio's users that is read without a thread. The app sends what it just wrote, so no disk is waited for."""

    def __init__(self, file: IO[Any]) -> None:
        self.file = file

    async def __aenter__(self) -> OpenFile:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        self.file.close()

    async def seek(self, place: int) -> int:
        return self.file.seek(place)

    async def read(self, size: int) -> bytes:
        return self.file.read(size)


class FewerThreads:
    """Stands for anyio, with which Gradio and Starlette run slow work in threads. Files are sent, and values of components
    without files are read, without a thread: under load, waiting for one takes 50 ms, twenty times for an adapter's ZIP."""

    def __init__(self, library: Any) -> None:
        self.library, self.to_thread = library, self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.library, name)

    async def open_file(self, file: Any, mode: str) -> OpenFile:
        return OpenFile(Path(file).open(mode))

    async def run_sync(self, work: Callable[..., Any], *args: Any, **options: Any) -> Any:
        component = getattr(work, "__self__", None)
        of_value = isinstance(component, Component) and work.__name__ in ("preprocess", "postprocess")
        if work is os.stat or (of_value and (isinstance(component, WITHOUT_FILES) or args == (None,))):
            return work(*args)
        return await self.library.to_thread.run_sync(work, *args, **options)


class NotServed:
    """Stands for Gradio's app where a page begins, ends and gets its queue: ``launch`` makes another one, and serves it."""

    @staticmethod
    def create_app(*_: Any, **__: Any) -> None:
        return None


# Everything that is replaced in Gradio: the module, the name, the replacement, and what breaks without it.
# tests/hostile/test_gradio_patches.py fails if a release of Gradio makes a patch unnecessary or no longer looks at it.
PATCHES: list[tuple[Any, str, Any, str]] = [
    (processing_utils, "async_ssrf_protected_get", refuse_address, "the server fetches addresses that strangers give"),
    (processing_utils, "async_ssrf_protected_download", refuse_address, "the same"),
    (processing_utils, "ssrf_protected_download", refuse_address, "the same"),
    (processing_utils, "save_url_to_cache", refuse_address, "the same"),
    (routes, "secure_url_stream_response", refuse_address, "the same, and it streams what it fetched"),
    (route_utils, "update_root_in_config", set_root, "the whole configuration is copied for each visitor"),
    (blocks, "anyio", FewerThreads(anyio), "a search waits ten times for a thread"),
    (responses, "anyio", FewerThreads(anyio), "a file waits three times for a thread, and once more for each chunk"),
    (utils, "run_in_threadpool", at_once, "each request waits for a thread to check a login, which this app does not have"),
    (blocks, "App", NotServed, "a start makes three unused apps, which takes most of the time to build the page"),
    (FileResponse, "chunk_size", 2**18, "a file of a megabyte is sent in sixteen parts"),
    (route_utils, "GradioUploadFile", OwnUpload, "equal files of two visitors have one path, and one may delete the other's"),
    (route_utils, "GradioMultiPartParser", FilesOnly, "fields of an upload are kept in memory, however large"),
    (routes, "GradioUploadFile", OwnUpload, "the same; routes.py has names of its own for both"),
    (routes, "GradioMultiPartParser", FilesOnly, "the same"),
    (routes, "file_upload_statuses", LastUploads(), "every name of an upload that anybody asks for is kept for ever"),
    (queueing, "Queue", FairQueue, "one client fills the queue, and everybody else is turned away"),
    (http_server, "Server", BoundedServer, "connections that ask for nothing are kept open until no file can be opened"),
]


def harden(tab_states: type[StateHolder]) -> None:
    """Replace what Gradio has no setting for, in this process, for good. A second call changes nothing."""
    # Gradio's StateHolder ends the longest unused tab, whatever is in it.
    for module, name, ours, _ in [*PATCHES, (routes, "StateHolder", tab_states, "")]:
        getattr(module, name)  # raises if a later Gradio no longer has it
        setattr(module, name, ours)
    routes.templates.env.loader = OurPages(STATIC_TEMPLATE_LIB)
    routes.templates.env.globals["texts"] = texts
