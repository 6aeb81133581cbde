"""The page as strangers may call it: files are their own and uploaded, and what cannot be used is refused in words.

All that this app changes in Gradio is in this file: ``GuardedBlocks`` for calls, and ``harden`` for what has no other seam.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from html import escape
from pathlib import Path
from textwrap import shorten
from typing import Any, NoReturn

import gradio as gr
from gradio import processing_utils, route_utils, routes
from gradio.state_holder import StateHolder
from gradio.utils import LRUCache, get_upload_folder
from gradio_client.utils import is_file_obj, traverse
from starlette.formparsers import MultiPartException

from app import texts

log = logging.getLogger(__name__)
FOLDER_PREFIX = "album-"  # of visitors' own folders beside uploads: nobody names a file in there
LONGEST = 200  # characters of what a component says about a value
UPLOADS = 1000  # at once, whose progress is remembered


class GuardedBlocks(gr.Blocks):
    """Blocks whose endpoints and events anybody may call with anything."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._owners: dict[Path, str] = {}  # uploads, and the tab or client that named them first
        self._owning = threading.Lock()

    async def process_api(
        self,
        block_fn: Any,
        inputs: list[Any],
        *args: Any,
        session_hash: str | None = None,
        event_data: gr.EventData | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """As in Gradio; every error is one for people.

        Raises:
            gr.Error: a file is not this visitor's, a value cannot be used, or something failed on our side.
        """
        if block_fn.fn is None:  # it runs in browsers only
            raise gr.Error(texts.CALL_UNKNOWN, print_exception=False)
        try:
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
        """As in Gradio, which reads the values here.

        Raises:
            gr.Error: there are too few of them, or one is not what its component takes.
        """
        try:
            return await super().preprocess_data(block_fn, inputs, *args, **kwargs)
        except gr.Error as error:  # a component's own, which repeats the value however long it is, and goes to the log
            words = escape(shorten(error.message, LONGEST, placeholder="…"), quote=False)
        except Exception:
            words = texts.VALUES_UNUSABLE
        log.info("values for %s were refused: %s", block_fn.name, words)
        raise gr.Error(words, print_exception=False)

    def _claim(self, name: str, tab: str) -> None:
        """See that a file was uploaded and no other visitor named it before.

        Raises:
            gr.Error: it is an address, is not there, is no upload, or is another visitor's.
        """
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


def _check_selection(event: gr.EventData | None) -> None:
    """See that what was clicked can be read; Gradio reads it where an error is one of ours.

    Raises:
        gr.Error: it is not what a browser says of a click.
    """
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


async def refuse_address_later(*_: Any, **__: Any) -> NoReturn:
    """The same where Gradio awaits it."""
    refuse_address()


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


def harden(tab_states: type[StateHolder]) -> None:
    """Replace what Gradio has no setting for, in this process, for good; doing it again changes nothing.

    Args:
        tab_states: takes the place of Gradio's ``StateHolder``.

    Files given as an address: 6.31 downloads them before a handler sees them (``blocks.async_move_resource_to_block_cache``,
    ``components.File``, ``image_utils``), all through these functions of ``processing_utils``; and ``/file=http…`` streams
    through the one of ``routes``, which ``app.http.allowlist`` does not let anybody reach either.
    """
    for name in ("async_ssrf_protected_get", "async_ssrf_protected_download"):
        _replace(processing_utils, name, refuse_address_later)
    for name in ("ssrf_protected_download", "save_url_to_cache", "unsafe_download"):
        _replace(processing_utils, name, refuse_address)
    _replace(routes, "secure_url_stream_response", refuse_address_later)
    _replace(routes, "StateHolder", tab_states)
    _replace(route_utils, "GradioUploadFile", OwnUpload)
    _replace(route_utils, "GradioMultiPartParser", FilesOnly)
    if not isinstance(routes.file_upload_statuses, LastUploads):
        _replace(routes, "file_upload_statuses", LastUploads())


def _replace(module: Any, name: str, ours: Any) -> None:
    getattr(module, name)  # a Gradio that has it no more must not go unnoticed
    setattr(module, name, ours)
