"""Our patches of Gradio, with the installed release: Gradio still uses each patched name, and each patch is still needed."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import gradio
import pytest
from gradio import routes

from app.http.gradio_patches import PATCHES, harden
from app.visitors.tab_states import Tabs
from core.common.paths import ROOT

FOLDER = Path(gradio.__file__).parent
NEEDED = """
import asyncio, inspect, re, sys, tempfile
from gradio import http_server, processing_utils, queueing, route_utils, routes
from gradio.state_holder import StateHolder
import gradio as gr
from uvicorn import Config

# Files: equal contents of two visitors share a path, since only the content is hashed.
one, two = (route_utils.GradioUploadFile.__new__(route_utils.GradioUploadFile) for _ in range(2))
for made in (one, two):
    made.__init__(file=tempfile.SpooledTemporaryFile(), filename="a.png")
assert one.sha.hexdigest() == two.sha.hexdigest(), "OwnUpload"

# Uploads: every name that is asked for is remembered.
class Tracker(route_utils.FileUploadProgress): pass
statuses = Tracker()
assert type(statuses._statuses) is dict and isinstance(statuses._signals, dict), "LastUploads"

# The queue: one limit for all events, whoever sent them.
source = queueing.Queue.push.__code__.co_names
assert "max_size" in source and "client" not in source, "FairQueue"

# The server: no limits of its own for connections.
config = Config(app=None)
assert config.limit_concurrency is None and config.http == "auto", "BoundedServer"

# Tabs: the longest unused ends, whatever it has.
with gr.Blocks() as page:
    gr.State(0)
holder = StateHolder()
holder.set_blocks(page)
holder.capacity = 2
for name in "abc":
    holder[name]
assert list(holder.session_data) == ["b", "c"], "Tabs"
assert holder["c"].config_values, "TabState"

# Pages: they make apps before they are served.
assert page.app is not None, "NotServed"

# Threads: what runs without one takes no time.
asked = set(re.findall(r"Depends\\((\\w*)\\)", inspect.getsource(routes)))
assert asked == {"", "get_current_user", "login_check"}, "run_in_threadpool"

# Components: Gradio compares their type stubs, unless the app is imported first.
from gradio import component_meta
assert component_meta.create_or_modify_pyi.__module__ == "gradio.component_meta", "NoStubs"
import app.main
app.main.prepare()
del sys.modules["gradio.component_meta"]
from importlib import import_module
assert import_module("gradio.component_meta").create_or_modify_pyi.__module__ == "app.main", "NoStubs"
"""


harden(Tabs)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: f"{patch[0].__name__}.{patch[1]}")
def test_gradio_still_uses_each_patched_name(patch: tuple) -> None:
    module, name, ours, breaks = patch
    assert getattr(module, name) is ours, "harden() was not called, or replaced something else"
    assert breaks
    short = module.__name__.rpartition(".")[2]
    own = inspect.getsource(module)
    used = own.count(name) > 1 or any(
        f"{short}.{name}" in text or (f"import {name}" in text and short in text) or f"    {name}," in text
        for text in (path.read_text() for path in FOLDER.rglob("*.py"))
    )
    assert used, f"Gradio {gradio.__version__} does not use {short}.{name} any more: the patch has no effect"


def test_each_patch_is_still_needed() -> None:
    """Runs in a separate process without our patches. A patch can go if Gradio has fixed the problem itself."""
    run = subprocess.run([sys.executable, "-c", NEEDED], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2_000:]


def test_patches_reach_modules_that_imported_the_name() -> None:
    """`from x import y` copies a name before we patch it. No module of Gradio may still hold the original."""
    stale = []
    for path in FOLDER.glob("*.py"):
        module = importlib.import_module(f"gradio.{path.stem}") if path.stem not in ("__init__", "cli") else gradio
        for origin, name, ours, _ in PATCHES:
            there = getattr(module, name, ours)
            if there is not ours and getattr(there, "__module__", "") == origin.__name__:
                stale.append(f"{module.__name__}.{name}")
    assert stale == []
    assert routes.file_upload_statuses is next(ours for _, name, ours, _ in PATCHES if name == "file_upload_statuses")
