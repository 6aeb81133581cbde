"""The page as strangers may call it: they use only files that they uploaded, and invalid input gets an error message."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextvars import ContextVar
from html import escape
from pathlib import Path
from textwrap import shorten
from typing import Any, NoReturn

import gradio as gr
from gradio import processing_utils
from gradio.context import Context, set_render_context
from gradio.utils import get_upload_folder
from gradio_client.utils import is_file_obj, traverse

from app import texts
from app.languages import ENGLISH, TAGS, language, speaking, wanted
from core.data.find_images import is_clutter

log = logging.getLogger(__name__)
FOLDER_PREFIX = "album-"  # prefix of visitors' folders beside uploads: no request may name a file in there
LONGEST = 200  # most characters of a component's error message
# Whether a client needs the configuration only to call endpoints, not to build the page. It gets a twentieth of it.
endpoints_alone: ContextVar[bool] = ContextVar("endpoints_alone", default=False)


class _Layout(gr.Blocks):
    """Components that are laid out, but not served."""

    def queue(self, *_: Any, **__: Any) -> _Layout:
        return self

    def __exit__(self, *_: Any) -> None:
        set_render_context(None)
        Context.root_block = None


class _Unchanging(dict[str, Any]):
    """A part of the layout that is not copied. Gradio copies all parts, value by value, for each browser and client."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Unchanging:
        return self


class GuardedBlocks(gr.Blocks):
    """Blocks whose endpoints and events anybody may call with anything."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._owners: dict[Path, str] = {}  # the tab or client that named an upload first
        self._owning = threading.Lock()
        self._in_language: dict[str, dict[int, dict[str, Any]]] = {}  # by language: components' texts, by number
        self._configs: dict[tuple[str, bool], dict[str, Any]] = {}  # by language and ``endpoints_alone``

    @property
    def config(self) -> Any:
        """Gradio's configuration, from which a browser builds the page, in the current language."""
        key = language(), endpoints_alone.get()
        if key not in self._configs:
            self._configs[key] = {name: _unchanging(part) for name, part in self._configured(*key).items()}
        return dict(self._configs[key])

    def _configured(self, code: str, endpoints: bool) -> dict[str, Any]:
        translations = self._in_language.get(code, {})
        components = [part | {"props": part["props"] | translations.get(part["id"], {})} for part in self._config["components"]]
        config = self._config | {"components": components, "language": TAGS[code]}
        return _endpoints_of(config) if endpoints else config

    @config.setter
    def config(self, config: Any) -> None:
        self._config, self._configs = config, {}

    def lay_out_again(self, code: str, lay_out: Callable[[], object]) -> None:
        """Lay the page out in another language, for browsers that want it. Components get the same numbers again.

        Call it before the page is served: Gradio puts components that events make into the layout of that moment.
        """
        next_id, Context.id = Context.id, self._id
        try:
            with speaking(code), _Layout(analytics_enabled=False) as page:
                lay_out()
            self._in_language[code] = {number: _words(block.get_config()) for number, block in page.blocks.items()}
            self._configs = {}
        finally:
            Context.id = next_id

    async def process_api(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As in Gradio, but every error is readable. Events of the page use the visitor's language, endpoints English."""
        headers = getattr(kwargs.get("request"), "headers", None) or {}
        spoken = wanted(headers.get("accept-language") or "")
        with speaking(spoken if block_fn.api_visibility == "private" else ENGLISH):
            if block_fn.fn is None:  # the event runs only in browsers
                raise gr.Error(texts.CALL_UNKNOWN, print_exception=False)
            try:
                inputs = without_clutter(inputs)
                traverse(inputs, lambda file: self._claim(file["path"], kwargs.get("session_hash") or ""), is_file_obj)
                if block_fn.collects_event_data:
                    _check_selection(kwargs.get("event_data"))
                return await super().process_api(block_fn, inputs, *args, **kwargs)
            except gr.Error:
                raise
            except RecursionError:
                words = texts.VALUES_UNUSABLE
            except Exception:
                log.exception("an event failed outside of its handler")
                words = texts.UNEXPECTED
            raise gr.Error(words, print_exception=False)

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """As in Gradio, which reads the values here. A named endpoint uses defaults for the values missing at the end."""
        try:
            if block_fn.api_visibility == "public" and len(inputs) < len(block_fn.inputs):
                values = iter(inputs)
                inputs = [None if block.skip_api else next(values, block.value) for block in block_fn.inputs]
            return await super().preprocess_data(block_fn, inputs, *args, **kwargs)
        # A component's error repeats the value, however long it is, and goes to the log.
        except gr.Error as error:
            words = escape(shorten(error.message, LONGEST, placeholder="…"), quote=False)
        except Exception:
            words = texts.VALUES_UNUSABLE
        log.info("values for %s were refused: %s", block_fn.name, words)
        raise gr.Error(words, print_exception=False)

    def _claim(self, name: str, tab: str) -> None:
        """Check that a file was uploaded, and that no other visitor named it before. Raises gr.Error: when not."""
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
        """Forget the owners of files that are gone."""
        with self._owning:
            self._owners = {path: tab for path, tab in self._owners.items() if path.exists()}


def _endpoints_of(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that calls need, with a layout from which ``gr.load`` can make a page."""
    public = [event for event in config["dependencies"] if event["api_visibility"] == "public"]
    used = {number for event in public for number in (*event["inputs"], *event["outputs"], *dict(event["targets"]))}
    components = [part for part in config["components"] if part["id"] in used]
    layout = {"id": config["layout"]["id"], "children": [{"id": part["id"]} for part in components]}
    return config | {"components": components, "dependencies": public, "layout": layout, "css": None}


def _unchanging(part: Any) -> Any:
    if isinstance(part, list):
        return [_unchanging(value) for value in part]
    return _Unchanging(part) if isinstance(part, dict) else part


def _words(properties: dict[str, Any]) -> dict[str, Any]:
    """The properties that may hold texts. The others are left out: events of the page set them too."""
    return {name: value for name, value in properties.items() if isinstance(value, str | list)}


def without_clutter(inputs: list[Any]) -> list[Any]:
    """The values without files that systems put beside photos. Gradio rejects a whole upload if one name begins with a dot."""
    return [
        [file for file in value if not (is_file_obj(file) and is_clutter(Path(file["path"]).name))]
        if isinstance(value, list)
        else value
        for value in inputs
    ]


def _check_selection(event: gr.EventData | None) -> None:
    """Check that a click can be read. Gradio reads it later, where an error would count as the handler's."""
    try:
        assert event is not None
        data = event._data
        gr.SelectData(None, data)
        processing_utils.check_all_files_in_cache(data)
    except Exception:
        raise gr.Error(texts.VALUES_UNUSABLE, print_exception=False) from None


def refuse_address(*_: Any, **__: Any) -> NoReturn:
    """Replaces everything in Gradio that fetches an address. It raises when called, so awaited functions need no other one."""
    raise gr.Error(texts.NO_ADDRESSES, print_exception=False)
