"""Start the web app: read the flags and serve the page while the models load."""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from app.scratch import claim_scratch
from app.server.hosts import Hosts, is_loopback
from core.common.errors import StudioError
from core.common.text import printable

if TYPE_CHECKING:
    from app.engines import Engine

# How long one thread may run Python while others wait; a tenth of the default. A sentence takes hundreds of small torch steps.
# After each one, it may wait this long for the thread that serves the page.
SWITCH_SECONDS = 0.0005
PORTS = range(1, 2**16)
HANG_UP = getattr(signal, "SIGHUP", None)  # the terminal is closed; Windows has no such signal


def main() -> None:
    """Parse the flags, prepare the process and serve the page until a signal ends it."""
    args = flags()
    # Both signals end the app: the server closes, and exit handlers remove temporary files. Further signals are ignored.
    signal.signal(signal.SIGTERM, stop_once)
    signal.signal(signal.SIGINT, stop_once)
    if HANG_UP is not None and signal.getsignal(HANG_UP) is signal.SIG_DFL:  # `nohup` ignores it
        signal.signal(HANG_UP, hang_up)
    try:
        prepare()
        check_address(args.address, args.port)
        serve(args)
    except StudioError as error:
        end(str(error))
    except KeyboardInterrupt:
        pass
    end()


def prepare() -> None:
    """Set what Gradio reads from the environment at import. Raises StudioError: when a value is unusable."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # After every event, Gradio would sum up the last 10,000 with pandas, for a dashboard that is off.
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", f"{sys.maxsize}")
    port = os.environ.get("GRADIO_SERVER_PORT") or "7860"
    if not is_port(port):
        raise StudioError(f"GRADIO_SERVER_PORT is {port!r}: give the number of a port, such as 7860.")
    os.environ["GRADIO_SERVER_PORT"] = port
    claim_scratch()  # it also sets the folder where MCP keeps photos


def flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="SG-LoRA Studio: from a sentence to a LoRA to better photo search.")
    several: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument("--host", help="address to listen on (default: $GRADIO_SERVER_NAME or 127.0.0.1)")
    words = "a host name that the server accepts, such as that of a proxy in front of it; may be given several times. "
    parser.add_argument("--host-name", **several, metavar="NAME", help=words + "It always accepts IP addresses and localhost")
    parser.add_argument("--port", type=port_number, help="port (default: $GRADIO_SERVER_PORT or the first free one from 7860)")
    words = "an expert repository, or a folder of them, that visitors may switch to; may be given several times. "
    words += "The app always finds those under experts/"
    parser.add_argument("--experts", type=Path, **several, metavar="DIR", help=words)
    words = "a library of photos (`python -m core index`) that all visitors may search; may be given several times"
    parser.add_argument("--library", type=Path, **several, metavar="DIR", help=words)
    parser.add_argument("--empty", action="store_true", help="open the page without the sample photos")
    parser.add_argument(
        "--index-from-page",
        action="store_true",
        help="let the person at this machine index folders into the libraries from the page; not behind a proxy",
    )
    words = "cuda, mps, cpu, or auto (default): the first available one"
    parser.add_argument("--device", default="auto", metavar="NAME", help=words)
    words = "offer the endpoints as MCP tools, too, at /gradio_api/mcp/; needs the package mcp"
    parser.add_argument("--mcp", action="store_true", help=words)
    args = parser.parse_args()
    if args.mcp and find_spec("mcp") is None:
        sys.exit('--mcp needs one more package: pip install "mcp>=1.21,<2"')
    args.address = args.host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    if args.index_from_page and not (is_loopback(args.address) and not os.environ.get("SPACE_ID")):
        sys.exit("--index-from-page reads any folder of this machine: it needs --host 127.0.0.1.")
    return args


def port_number(text: str) -> int:
    if not is_port(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from {PORTS[0]} to {PORTS[-1]}")
    return int(text)


def is_port(text: str) -> bool:
    return text.isdecimal() and len(text) <= 5 and int(text) in PORTS


def check_address(host: str, port: int | None) -> None:
    """Raise StudioError if the server cannot listen there. Gradio tries for minutes, then says only that no port is free."""
    failed: Exception | None = None
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host.strip("[]"), port or 0, type=socket.SOCK_STREAM):
            try:
                with socket.socket(family, kind, protocol) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(address)
                    return
            except OSError as error:  # one of a name's addresses is enough, as on a machine without IPv6
                failed = error
    except (OSError, UnicodeError) as error:
        failed = error
    where = host if port is None else f"{host}, port {port}"
    why = failed.strerror if isinstance(failed, OSError) else "it is no address"
    raise StudioError(f"Cannot listen on {where} ({why}): choose another --host or --port.") from failed


def serve(args: argparse.Namespace) -> None:
    """Start loading the models and serve the page meanwhile. Raises StudioError: when an option is unusable."""
    gc.disable()  # until the models are loaded: loading makes a million objects, and nearly all of them stay
    from app import zero_gpu
    from app.engines import Models, found_repositories
    from app.limits import Limits
    from app.logs import set_up_logs
    from app.page import build
    from app.photo_libraries import PhotoLibraries
    from app.server.serve import serve as serve_page
    from app.views.theme import STYLE, theme
    from app.visitors import Visitors
    from core.common.device import use
    from core.common.runtime import set_up_heap

    set_up_logs()
    use("cpu" if zero_gpu.HERE else args.device)  # on ZeroGPU, only single calls run on the GPU
    libraries, visitors = PhotoLibraries(args.library, args.index_from_page), Visitors(Limits.from_environment())
    set_up_heap()
    models = Models(others=found_repositories(args.experts))
    threading.Thread(target=collect_again, args=(models.engine(),), daemon=True).start()
    page, i18n = build(models, visitors, libraries, samples=not args.empty)
    visitors.start()
    serve_page(
        page,
        address=args.address,
        port=args.port,
        hosts=Hosts.of(args.address, args.host_name),
        mcp=args.mcp,
        could_fit=visitors.could_fit,
        max_upload=visitors.limits.upload,
        i18n=i18n,
        theme=theme(),
        css_paths=STYLE,
    )


def collect_again(engine: Engine) -> None:
    """Wait for the models, then collect garbage again, but never what was loaded until then."""
    with suppress(Exception):  # visitors get the error message
        engine.get()
    gc.freeze()
    gc.enable()


def stop_once(*_: object) -> NoReturn:
    """Interrupt the main thread."""
    ignore_signals()
    raise KeyboardInterrupt


def hang_up(*_: object) -> NoReturn:
    """Remove temporary files and end at once, without a word: the terminal that would show it is gone."""
    ignore_signals()
    atexit._run_exitfuncs()
    os._exit(1)


def ignore_signals() -> None:
    """Further signals do not interrupt the clean-up."""
    for number in (signal.SIGINT, signal.SIGTERM, HANG_UP):
        if number is not None:
            signal.signal(number, signal.SIG_IGN)


def end(reason: str = "") -> NoReturn:
    """Run the exit handlers and end the process at once: a normal exit would cut off computing threads in the middle of C++."""
    if reason:
        print(printable(reason), file=sys.stderr)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if reason else 0)
