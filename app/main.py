"""Starts the web app: reads the flags, and serves the page while the models load."""

from __future__ import annotations

import argparse
import atexit
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Gradio sums up its last 10,000 events with pandas after every event, for a dashboard that is off.
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")

if not (_port := os.environ.get("GRADIO_SERVER_PORT") or "7860").isdigit() or int(_port) > 65_535:
    sys.exit(f"GRADIO_SERVER_PORT is {_port!r}: give the number of a port, such as 7860.")  # gradio reads it when imported

from app import zero_gpu
from app.engines import Models, found_repositories
from app.http.connections import allow_open_files
from app.http.hosts import Hosts, is_loopback
from app.logs import set_up_logs
from app.page import build, launch_options
from app.photo_libraries import PhotoLibraries
from app.visitors.retention import Keeper, Limits
from app.visitors.session import rest, watched
from app.visitors.temp_dir import claim_scratch
from core.common.device import use
from core.common.errors import StudioError
from core.common.runtime import set_up_heap

# How long a thread may keep Python to itself when others want it; a tenth of the default. A sentence takes hundreds of small
# steps in torch, and after each of them it may have to wait so long for the thread that serves the page.
SWITCH_SECONDS = 0.0005


def main() -> None:
    """Parse the flags, start loading the models and serve the page meanwhile."""
    parser = argparse.ArgumentParser(description="SG-LoRA Studio: from a sentence to a LoRA to better photo search.")
    parser.add_argument("--host", help="address to listen on (default: $GRADIO_SERVER_NAME or 127.0.0.1)")
    parser.add_argument(
        "--host-name",
        action="append",
        default=[],
        metavar="NAME",
        help="one more name that the server answers to, such as that of the proxy in front of it; may be given several times. "
        "Addresses and localhost need none",
    )
    parser.add_argument("--port", type=int, help="port (default: $GRADIO_SERVER_PORT or the first free one from 7860)")
    parser.add_argument(
        "--experts",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="one more expert repository, or a folder of them, that visitors may switch to; may be given several times. "
        "Those under experts/ are found without it",
    )
    parser.add_argument(
        "--library",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a library of photos (`python -m core index`) that all visitors may search; may be given several times",
    )
    parser.add_argument(
        "--index-from-page",
        action="store_true",
        help="let whoever sits at this machine index folders into the libraries from the page; not behind a proxy",
    )
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="cuda, mps, cpu, or auto, the first of them that is there (default)"
    )
    parser.add_argument(
        "--mcp", action="store_true", help="offer the endpoints as MCP tools, too, at /gradio_api/mcp/; needs the package mcp"
    )
    args = parser.parse_args()
    if args.mcp and find_spec("mcp") is None:
        sys.exit('--mcp needs one more package: pip install "mcp>=1.21,<2"')
    address = args.host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    if args.index_from_page and not (is_loopback(address) and not os.environ.get("SPACE_ID")):
        sys.exit("--index-from-page reads any folder of this machine: it needs --host 127.0.0.1.")
    hosts = Hosts.of(address, args.host_name)
    set_up_logs()
    allow_open_files()
    # As Ctrl-C does: the server closes, and the exit handlers remove temporary files.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        use("cpu" if zero_gpu.HERE else args.device)  # on ZeroGPU the GPU is there for visits only
        others = found_repositories(args.experts)
        libraries = PhotoLibraries(args.library, args.index_from_page)
        claim_scratch()
        keeper = Keeper(Limits.from_environment())
    except StudioError as error:
        sys.exit(str(error))
    set_up_heap()
    sys.setswitchinterval(SWITCH_SECONDS)
    models = Models(others=others, watched=watched, unload=rest)
    models.start()
    try:
        build(models, keeper, libraries).launch(
            server_name=args.host, server_port=args.port, **launch_options(keeper, args.mcp, hosts)
        )
    except OSError as error:
        if args.port is None and args.host is None:
            raise
        where = f"{args.host or 'this machine'}, port {args.port or _port}"
        end(f"Cannot listen on {where}: another program does, or the address is not this machine's. ({type(error).__name__})")
    end()


def end(reason: str = "") -> NoReturn:
    """End the process at once, after its exit handlers: threads that compute would be cut off in the middle of C++."""
    if reason:
        print(reason, file=sys.stderr)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if reason else 0)
