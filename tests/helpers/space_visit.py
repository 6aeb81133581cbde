"""Visits the app inside the confinement of a Space. test_space.py starts this script, which prints its results as JSON.

The script runs in the app's network, which has no other machines, and as the app's user: python space_visit.py CHECKOUT LOG
"""

import json
import os
import pwd
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from app_process import free_port, wait_for
from gradio_client import Client, handle_file
from network_isolation import has_route

from core.data.sample_photos import EVERYDAY, sample_photos, sample_sets


def main(checkout: Path, log: Path) -> dict[str, Any]:
    """Start the app, use the endpoints, and stop the app."""
    folders = (str(checkout), "/", str(Path.home()), tempfile.gettempdir())
    seen: dict[str, Any] = {"user": os.getuid(), "named": has_name(), "route": has_route()}
    seen["writable"] = [folder for folder in folders if is_writable(folder)]
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    settings = {**os.environ, "GRADIO_SERVER_PORT": str(port), "PYTHONPATH": os.environ["APP_PYTHONPATH"]}
    with log.open("w") as out:
        app = subprocess.Popen([sys.executable, "app.py"], cwd=checkout, env=settings, stdout=out, stderr=out)
    try:
        wait_for(address, app, log)
        client = Client(address, verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": 120})
        description, query = sample_sets()[EVERYDAY].examples[0]
        seen["routed"] = client.predict(description=description, api_name="/route")
        samples = sample_photos()
        captions = "\n".join(f"{s.name}: {caption}" for s in samples for caption in s.captions)
        files = [handle_file(s.path) for s in samples]
        seen["samples"] = client.predict(files=files, captions=captions, api_name="/index")
        seen["adapted"], adapter = client.predict(description=description, api_name="/adapt")
        seen["adapter"] = Path(adapter).name
        seen["found"] = client.predict(query=query, description=description, api_name="/search")
    finally:
        app.terminate()
        app.wait(120)
    return seen


def has_name() -> bool:
    with suppress(KeyError):
        return bool(pwd.getpwuid(os.getuid()))
    return False


def is_writable(folder: str) -> bool:
    with suppress(OSError), tempfile.NamedTemporaryFile(dir=folder):
        return True
    return False


if __name__ == "__main__":
    print(json.dumps(main(*(Path(argument).resolve() for argument in sys.argv[1:]))))
