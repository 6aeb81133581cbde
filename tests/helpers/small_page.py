"""A small page behind the app's server: for what the server promises, whatever the page does."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from app_process import close, free_port

from app.server.errors import message_of
from app.server.hosts import Hosts
from app.server.mcp import sent_files, visitor_of
from app.server.serve import serve

CHOICES = ["/srv/secret/one", "/srv/secret/two"]


@dataclass
class Small:
    """The running page. ``folder``: where Gradio keeps its files. ``go``: set to end slow events."""

    url: str
    page: gr.Blocks
    folder: Path
    go: threading.Event

    def files(self) -> set[Path]:
        return {path for path in self.folder.rglob("*") if path.is_file()}


def small_page(go: threading.Event) -> gr.Blocks:
    """Endpoints: ``count`` (calls of a tab), ``sizes`` (of files), ``choose``, ``slow``, ``whose`` (MCP visitor), ``fail``."""

    def count(calls: int) -> tuple[int, int]:
        return calls + 1, calls + 1

    def sizes(files: list[str] | None = None, lines: str = "") -> list[int]:
        try:
            return [Path(file).stat().st_size for file in [*(files or []), *sent_files(lines)]]
        except Exception as error:
            raise gr.Error(message_of(error, "sizes"), print_exception=False) from None

    def choose(choice: str) -> str:
        return choice

    def slow(seconds: float) -> float:
        go.wait(seconds)
        return seconds

    def whose(word: str, request: gr.Request) -> list[str | None]:
        return [word, visitor_of(request), request.headers.get("x-forwarded-for")]

    def fail(word: str) -> str:
        raise RuntimeError(f"/srv/secret/{word}")

    with gr.Blocks() as page:
        calls = gr.State(0)
        files, lines = gr.File(file_count="multiple"), gr.Textbox()
        word, seconds, choice = gr.Textbox(), gr.Number(), gr.Dropdown(CHOICES)
        number, answer, button = gr.Number(), gr.JSON(), gr.Button()
        several: dict[str, Any] = {"concurrency_limit": 8}
        button.click(count, calls, [calls, number], api_name="count", **several)
        button.click(sizes, [files, lines], answer, api_name="sizes", **several)
        button.click(choose, choice, word, api_name="choose", **several)
        button.click(slow, seconds, number, api_name="slow", **several)
        button.click(whose, word, answer, api_name="whose", **several)
        button.click(fail, word, answer, api_name="fail", **several)
    return page


@contextmanager
def small(
    folder: Path,
    *,
    hosts: Hosts = Hosts(),
    mcp: bool = False,
    could_fit: Callable[[int], bool] = lambda _: True,
    max_upload: int = 64 * 2**20,
) -> Iterator[Small]:
    """Serve the small page on loopback."""
    patch = pytest.MonkeyPatch()
    patch.setenv("GRADIO_TEMP_DIR", str(folder / "gradio"))
    page = small_page(go := threading.Event())
    try:
        where = {"address": "127.0.0.1", "port": free_port(), "hosts": hosts}
        url = serve(page, **where, mcp=mcp, could_fit=could_fit, max_upload=max_upload, wait=False)
        yield Small(url, page, folder / "gradio", go)
    finally:
        go.set()
        close(page)
        patch.undo()
