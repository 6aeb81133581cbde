"""The page as strangers may call it: files are their own and uploaded, and invalid input is rejected with an error message.

All that this app changes in Gradio is in this file: ``GuardedBlocks`` for calls, and ``harden`` for the rest.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import secrets
import threading
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from html import escape
from pathlib import Path
from textwrap import shorten
from typing import Any, NoReturn

import anyio
import gradio as gr
from fastapi import HTTPException
from fastapi.templating import Jinja2Templates
from gradio import blocks, http_server, processing_utils, queueing, route_utils, routes
from gradio.context import Context, LocalContext, set_render_context
from gradio.route_utils import STATIC_TEMPLATE_LIB
from gradio.state_holder import StateHolder
from gradio.utils import LRUCache, get_upload_folder
from gradio_client.utils import is_file_obj, traverse
from jinja2 import FileSystemLoader
from starlette.formparsers import MultiPartException
from starlette.responses import FileResponse

from app import texts
from app.http.addresses import address_of
from app.http.connections import BoundedServer
from app.languages import ENGLISH, TAGS, language, speaking, wanted
from core.data.find_images import is_clutter

log = logging.getLogger(__name__)
FOLDER_PREFIX = "album-"  # of visitors' own folders beside uploads: no request may name a file in there
PREVIEW = re.compile(r'(?P<begin><meta\s+(?:property|name)="(?:og|twitter):(?P<what>\w+)"\s+content=)"[^"]*"\s*/>')
LONGEST = 200  # characters of what a component says about a value
UPLOADS = 1000  # at once, whose progress is remembered
REMEMBERED_TABS = 10_000  # and where they are
WAITING, OWN_WAITING = 64, 8  # events that wait: of a kind, and of one tab or address
LANGUAGE = 'lang="{{ config.language }}" dir="ltr"'
GRADIOS_LANGUAGE = '<script>Object.defineProperty(navigator, "language", { value: document.documentElement.lang });</script>'
# Whether who asks for the configuration builds no page from it, but calls endpoints: a twentieth of it is enough.
endpoints_alone: ContextVar[bool] = ContextVar("endpoints_alone", default=False)
WITHOUT_FILES = (gr.Textbox, gr.Slider, gr.Number, gr.Checkbox, gr.Radio, gr.Dropdown, gr.State, gr.JSON, gr.HTML, gr.Markdown)
OWN_AT_WORK, OWN_WORKING = 2, {"photos": 1}  # events of a kind that are worked on, of one address


class _Layout(gr.Blocks):
    """Components alone, which nothing serves."""

    def queue(self, *_: Any, **__: Any) -> _Layout:
        return self

    def __exit__(self, *_: Any) -> None:
        set_render_context(None)
        Context.root_block = None


class _Unchanging(dict[str, Any]):
    """A part of the layout. Gradio copies them all, value by value, for each browser and client that comes."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Unchanging:
        return self


class GuardedBlocks(gr.Blocks):
    """Blocks whose endpoints and events anybody may call with anything."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._owners: dict[Path, str] = {}  # uploads, and the tab or client that named them first
        self._owning = threading.Lock()
        self._in_language: dict[str, dict[int, dict[str, Any]]] = {}  # properties of components, by their number
        self._configs: dict[tuple[str, bool], dict[str, Any]] = {}  # by language, and whether the endpoints are all

    @property
    def config(self) -> Any:
        """As Gradio's, which a browser builds the page from, in the language at hand."""
        key = language(), endpoints_alone.get()
        if key not in self._configs:
            self._configs[key] = {name: _unchanging(part) for name, part in self._configured(*key).items()}
        return dict(self._configs[key])

    def _configured(self, code: str, endpoints: bool) -> dict[str, Any]:
        said = self._in_language.get(code, {})
        components = [part | {"props": part["props"] | said.get(part["id"], {})} for part in self._config["components"]]
        config = self._config | {"components": components, "language": TAGS[code]}
        if endpoints:
            public = [event for event in config["dependencies"] if event["api_visibility"] == "public"]
            named = {number for event in public for number in (*event["inputs"], *event["outputs"])}
            shown = [part for part in components if part["id"] in named]
            config |= {"components": shown, "dependencies": public, "css": None}
        return config

    @config.setter
    def config(self, config: Any) -> None:
        self._config, self._configs = config, {}

    def lay_out_again(self, code: str, lay_out: Callable[[], object]) -> None:
        """Lay the page out in a language, in which it will be given to browsers. Components get the same numbers again.

        Before the page is served: Gradio puts components that events make into whatever is laid out at that moment.
        """
        after, Context.id = Context.id, self._id
        try:
            with speaking(code), _Layout(analytics_enabled=False) as page:
                lay_out()
                parts = page.default_config.get_config()["components"]
            self._in_language[code] = {part["id"]: _words(part["props"]) for part in parts}
            self._configs = {}
        finally:
            Context.id = after

    async def process_api(
        self, block_fn: Any, inputs: list[Any], *args: Any, request: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """As in Gradio; every error is one for people, and the page's own events speak the visitor's language."""
        headers = getattr(request, "headers", None) or {}
        spoken = wanted(headers.get("accept-language") or "")
        with speaking(spoken if block_fn.api_visibility == "private" else ENGLISH):
            return await self._process(block_fn, inputs, *args, request=request, **kwargs)

    async def _process(
        self,
        block_fn: Any,
        inputs: list[Any],
        *args: Any,
        session_hash: str | None = None,
        event_data: gr.EventData | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        if block_fn.fn is None:  # it runs in browsers only
            raise gr.Error(texts.CALL_UNKNOWN, print_exception=False)
        try:
            inputs = without_clutter(inputs)
            traverse(inputs, lambda file: self._claim(file["path"], session_hash or ""), is_file_obj)
            if block_fn.collects_event_data:
                _check_selection(event_data)
            return await super().process_api(
                block_fn, inputs, *args, session_hash=session_hash, event_data=event_data, **kwargs
            )
        except gr.Error:
            raise
        except RecursionError:
            words = texts.VALUES_UNUSABLE
        except Exception:
            log.exception("an event failed outside of its handler")
            words = texts.UNEXPECTED
        raise gr.Error(words, print_exception=False)

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """As in Gradio, which reads the values here; those that a named endpoint is not given at the end are the defaults."""
        try:
            if block_fn.api_visibility == "public" and len(inputs) < len(block_fn.inputs):
                given = iter(inputs)
                inputs = [None if block.skip_api else next(given, block.value) for block in block_fn.inputs]
            return await super().preprocess_data(block_fn, inputs, *args, **kwargs)
        except gr.Error as error:  # a component's own, which repeats the value however long it is, and goes to the log
            words = escape(shorten(error.message, LONGEST, placeholder="…"), quote=False)
        except Exception:
            words = texts.VALUES_UNUSABLE
        log.info("values for %s were refused: %s", block_fn.name, words)
        raise gr.Error(words, print_exception=False)

    def _claim(self, name: str, tab: str) -> None:
        """See that a file was uploaded and no other visitor named it before."""
        if "://" in name:
            refuse_address()
        try:
            folder, path = Path(get_upload_folder()).resolve(), Path(name).resolve()
            inside = path.relative_to(folder).parts
            is_upload = Path(name).is_absolute() and len(inside) == 2 and path.is_file()
        except (OSError, ValueError):  # too long, with a null byte, or elsewhere
            is_upload = False
        if not is_upload or inside[0].startswith(FOLDER_PREFIX):
            raise gr.Error(texts.FILE_NOT_YOURS, print_exception=False)
        with self._owning:
            owner = self._owners.setdefault(path, tab)
        if owner != tab:
            raise gr.Error(texts.FILE_NOT_YOURS, print_exception=False)

    def forget_files(self) -> None:
        """Forget whose the files were that are gone."""
        with self._owning:
            self._owners = {path: tab for path, tab in self._owners.items() if path.exists()}


def _unchanging(part: Any) -> Any:
    if isinstance(part, list):
        return [_unchanging(value) for value in part]
    return _Unchanging(part) if isinstance(part, dict) else part


def _words(properties: dict[str, Any]) -> dict[str, Any]:
    """Properties that may have words: others become what they are by the page's events, too."""
    return {name: value for name, value in properties.items() if isinstance(value, str | list)}


def without_clutter(inputs: list[Any]) -> list[Any]:
    """Values without what systems put beside photos: for a name that begins with a dot, Gradio refuses the whole upload."""
    return [
        [file for file in value if not (is_file_obj(file) and is_clutter(Path(file["path"]).name))]
        if isinstance(value, list)
        else value
        for value in inputs
    ]


def _check_selection(event: gr.EventData | None) -> None:
    """See that what was clicked can be read; Gradio reads it where an error is one of ours."""
    try:
        assert event is not None
        data = event._data
        gr.SelectData(None, data)
        processing_utils.check_all_files_in_cache(data)
    except Exception:
        raise gr.Error(texts.VALUES_UNUSABLE, print_exception=False) from None


def refuse_address(*_: Any, **__: Any) -> NoReturn:
    """In the place of everything in Gradio that fetches an address."""
    raise gr.Error(texts.NO_ADDRESSES, print_exception=False)


def set_root(config: dict[str, Any], root: str) -> dict[str, Any]:
    """In the place of Gradio's, which looks for files in the whole configuration: this page begins without any."""
    config["root"] = root
    return config


async def refuse_address_later(*_: Any, **__: Any) -> NoReturn:
    """The same where Gradio awaits it."""
    refuse_address()


class OurPages(FileSystemLoader):
    """The pages that a browser gets. Gradio's say that they are English, and then become the browser's language, translated or
    not; and what a link to them shows elsewhere is about Gradio, and fixed."""

    def get_source(self, environment: Any, template: str) -> Any:
        source, *others = super().get_source(environment, template)
        for gradios, ours in (('lang="en"', LANGUAGE), ("<head>", f"<head>{GRADIOS_LANGUAGE}")):
            source = source.replace(gradios, ours, 1)
        return PREVIEW.sub(_preview, source), *others


def _preview(tag: re.Match[str]) -> str:
    words = {"title": "{{ texts.TITLE }}", "description": "{{ texts.TAGLINE }}"}.get(tag["what"])
    return "" if words is None else f'{tag["begin"]}"{words}" />'


def _page_templates() -> Jinja2Templates:
    templates = Jinja2Templates(directory=STATIC_TEMPLATE_LIB)
    templates.env.loader = OurPages(STATIC_TEMPLATE_LIB)
    templates.env.filters["toorjson"] = routes.toorjson
    templates.env.globals["texts"] = texts
    return templates


class OwnUpload(route_utils.GradioUploadFile):
    """An upload with a path of its own. Gradio's is a hash of the content: two visitors with equal files would share one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sha.update(secrets.token_bytes(32))


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


class FairQueue(queueing.Queue):
    """Who waits for what. Gradio's has one limit for all events together, which one client reaches alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.addresses: LRUCache[str, str] = LRUCache(REMEMBERED_TABS)  # where the last tabs' events came from

    async def push(self, body: Any, request: Any, username: str | None) -> Any:
        """As in Gradio. Raises HTTPException: too many events wait that are this visitor's, or that are of this kind."""
        fn, address = route_utils.get_fn(self.blocks, None, body), address_of(request)
        waiting = [event for group in self.event_queue_per_concurrency_id.values() for event in group.queue]
        this_tab = sum(event.session_hash == body.session_hash for event in waiting)
        this_address = sum(address_of(event.request) == address for event in waiting) if address else 0
        if max(this_tab, this_address) >= OWN_WAITING:
            raise HTTPException(429, texts.QUEUE_FULL_OWN.format(n=OWN_WAITING))
        if sum(event.concurrency_id == fn.concurrency_id for event in waiting) >= WAITING:
            raise HTTPException(429, texts.QUEUE_FULL)
        if body.session_hash:
            self.addresses[body.session_hash] = address
        return await super().push(body=body, request=request, username=username)

    def get_events(self) -> tuple[list[queueing.Event], bool, str] | None:
        """As in Gradio; but of each kind an address, or else a tab, has few events at work, and those of others go before."""
        working = Counter((event.concurrency_id, _whose(event)) for job in self.active_jobs for event in job or ())
        lines = list(self.event_queue_per_concurrency_id.items())
        random.shuffle(lines)
        for kind, line in lines:
            if line.concurrency_limit is not None and line.current_concurrency >= line.concurrency_limit:
                continue
            most = OWN_WORKING.get(kind, OWN_WAITING if line.concurrency_limit is None else OWN_AT_WORK)
            for event in line.queue:
                if working[kind, _whose(event)] < most:
                    line.queue.remove(event)
                    return [event], False, kind
        return None

    def tabs_with_events(self) -> set[str]:
        """The tabs whose events wait or run."""
        return {event.session_hash for event in list(self.event_ids_to_events.values())}


def _whose(event: Any) -> str:
    """Address of an event, or its tab where it has none."""
    whose = getattr(event, "whose", None)
    if whose is None:
        whose = event.whose = address_of(event.request) or event.session_hash
    return whose


def visitor_left() -> Callable[[], bool]:
    """For the event at hand: whether its client has left."""
    page, number = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    event = None if page is None or number is None else page._queue.event_ids_to_events.get(number)
    return lambda: event is not None and not event.alive


class FewerThreads:
    """The library by which Gradio runs in threads what takes long. Reading the value of a component without files does not: it
    would wait for longer than it takes, ten times in a search."""

    def __init__(self, library: Any) -> None:
        self.library, self.to_thread = library, self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.library, name)

    async def run_sync(self, work: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if work.__name__ in ("preprocess", "postprocess") and isinstance(getattr(work, "__self__", None), WITHOUT_FILES):
            return work(*args)
        return await self.library.to_thread.run_sync(work, *args, **options)


# Everything that is replaced in Gradio: the module, the name, what takes its place, and what breaks without it. Where a release
# of Gradio makes one of them unnecessary, or no longer looks at it, tests/hostile/test_gradio_patches.py fails.
PATCHES: list[tuple[Any, str, Any, str]] = [
    (processing_utils, "async_ssrf_protected_get", refuse_address_later, "the server fetches addresses that strangers give"),
    (processing_utils, "async_ssrf_protected_download", refuse_address_later, "the same"),
    (processing_utils, "ssrf_protected_download", refuse_address, "the same"),
    (processing_utils, "save_url_to_cache", refuse_address, "the same"),
    (routes, "secure_url_stream_response", refuse_address_later, "the same, and it streams what it fetched"),
    (route_utils, "update_root_in_config", set_root, "each visitor takes 15 ms more of the thread that serves them all"),
    (blocks, "anyio", FewerThreads(anyio), "beside many visitors a search takes half as long again"),
    (FileResponse, "chunk_size", 2**18, "a file of a megabyte goes through sixteen threads on its way"),
    (routes, "templates", _page_templates(), "the page says that it is in another language, and its previews are Gradio's"),
    (route_utils, "GradioUploadFile", OwnUpload, "equal files of two visitors have one path, and one may delete the other's"),
    (route_utils, "GradioMultiPartParser", FilesOnly, "fields of an upload are kept in memory, however large"),
    (routes, "GradioUploadFile", OwnUpload, "the same; routes.py has names of its own for both"),
    (routes, "GradioMultiPartParser", FilesOnly, "the same"),
    (routes, "file_upload_statuses", LastUploads(), "every name of an upload that anybody asks for is kept for ever"),
    (queueing, "Queue", FairQueue, "one client fills the queue, and everybody else is turned away"),
    (http_server, "Server", BoundedServer, "connections that ask for nothing are kept open until no file can be opened"),
]


def harden(tab_states: type[StateHolder]) -> None:
    """Replace what Gradio has no setting for, in this process, for good; doing it again changes nothing."""
    # Gradio's own ends the tab that was longest unused, whatever is in it.
    for module, name, ours, _ in [*PATCHES, (routes, "StateHolder", tab_states, "")]:
        getattr(module, name)  # a Gradio that has it no more must not go unnoticed
        setattr(module, name, ours)
