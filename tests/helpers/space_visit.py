"""Visits the app inside the confinement of a Space. test_space.py starts this script, which prints its results as JSON.

The script runs in the app's network, which has no other machines, and as the app's user: python space_visit.py CHECKOUT ZIP LOG
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from app_process import free_port, wait_for
from gradio_client import Client, handle_file
from network_isolation import has_route

from core.data.sample_photos import EVERYDAY, sample_photos, sample_sets


def main(checkout: Path, archive: Path, log: Path) -> dict[str, Any]:
    """Start the app, use every endpoint, fill the gallery, and stop the app."""
    seen: dict[str, Any] = surroundings(checkout)
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    settings = {**os.environ, "GRADIO_SERVER_PORT": str(port), "PYTHONPATH": os.environ["APP_PYTHONPATH"]}
    watch = Watch()
    with log.open("w") as out:
        app = subprocess.Popen([sys.executable, "app.py"], cwd=checkout, env=settings, stdout=out, stderr=out)
    try:
        wait_for(address, app, log)
        seen["page_seconds"] = watch.seconds()
        client = Client(address, verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": 120})
        description, query = sample_sets()[EVERYDAY].examples[0]
        seen["routed"] = client.predict(description=description, api_name="/route")
        seen["models_seconds"] = watch.seconds()
        seen["memory_ready"] = memory(app)

        samples = sample_photos()
        captions = "\n".join(f"{s.name}: {caption}" for s in samples for caption in s.captions)
        files = [handle_file(s.path) for s in samples]
        seen["samples"] = client.predict(files=files, captions=captions, api_name="/index")
        seen["adapted"], adapter = client.predict(description=description, api_name="/adapt")
        seen["adapter"] = Path(adapter).name
        seen["found"] = client.predict(query=query, description=description, api_name="/search")

        watch = Watch()
        seen["filled"] = client.predict(files=[handle_file(archive)], captions="", api_name="/index")
        seen["fill_seconds"] = watch.seconds()
        watch = Watch()
        description, query = sample_sets()[EVERYDAY].examples[2]
        seen["found_again"] = client.predict(query=query, description=description, api_name="/search")
        seen["search_seconds"] = watch.seconds()
        seen["memory_filled"] = memory(app)
    finally:
        app.terminate()
        app.wait(120)
    return seen


class Watch:
    """Measures the seconds since its creation."""

    def __init__(self) -> None:
        self.begin = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self.begin


def surroundings(checkout: Path) -> dict[str, Any]:
    """This process's user, network route and writable folders."""
    folders = (str(checkout), "/", str(Path.home()), tempfile.gettempdir())
    return {
        "user": os.getuid(),
        "named": has_name(),
        "route": has_route(),
        "writable": [folder for folder in folders if is_writable(folder)],
    }


def has_name() -> bool:
    try:
        return bool(pwd.getpwuid(os.getuid()))
    except KeyError:
        return False


def is_writable(folder: str) -> bool:
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def memory(process: subprocess.Popen) -> dict[str, float]:
    """The app's resident memory in MB: now, and the maximum so far."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return {key: int(values[name].split()[0]) / 1024 for key, name in (("now", "VmRSS"), ("peak", "VmHWM"))}


if __name__ == "__main__":
    print(json.dumps(main(*(Path(argument).resolve() for argument in sys.argv[1:]))))
