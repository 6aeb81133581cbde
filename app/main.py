"""Starts the web app: reads the flags, and serves the page while the models load."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Gradio sums up its last 10,000 events with pandas after every event, for a dashboard that is off.
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")

from app.engines import Models, found_repositories
from app.page import build, launch_options
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
        "--device", default="auto", metavar="NAME", help="cuda, mps, cpu, or auto, the first of them that is there (default)"
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # As Ctrl-C does: the server closes, and the exit handlers remove temporary files.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        use(args.device)
        others = found_repositories(args.experts)
        claim_scratch()
        keeper = Keeper(Limits.from_environment())
    except StudioError as error:
        sys.exit(str(error))
    set_up_heap()
    sys.setswitchinterval(SWITCH_SECONDS)
    models = Models(others=others, watched=watched, unload=rest)
    models.start()
    build(models, keeper).launch(server_name=args.host, server_port=args.port, **launch_options(keeper))
