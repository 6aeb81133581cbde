"""Start the web app: read the flags and serve the page while the models load."""

import atexit
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

from app.flags import Flags, flags
from app.server.hosts import Hosts
from app.server.scratch import claim_scratch
from core.common.errors import StudioError
from core.common.text import printable

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP


def main() -> None:
    args = flags()
    # All three end the app: the server closes, and exit handlers remove temporary files.
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` ignores the closing of the terminal
            signal.signal(number, stop_once)
    try:
        prepare()
        check_address(args.address, args.port)
        run(args)
    except StudioError as error:
        end(str(error))
    except KeyboardInterrupt:
        pass
    end()


def prepare() -> None:
    """Set what Gradio reads from the environment at import. Raises StudioError: as ``claim_scratch``."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # After every event, Gradio would sum up the last 10,000 with pandas, for a dashboard that is off.
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", f"{sys.maxsize}")
    os.environ.pop("GRADIO_SERVER_PORT", None)  # the flags have read it; Gradio fails on an empty one
    claim_scratch()  # it also sets the folder where MCP keeps photos


def check_address(host: str, port: int | None) -> None:
    """Raise StudioError if the server cannot listen there. Gradio tries for minutes, then says only that no port is free."""
    try:
        # IPv4 first: a machine without IPv6 may give a name such an address, too.
        family, kind, protocol, _, address = min(socket.getaddrinfo(host.strip("[]"), port or 0, type=socket.SOCK_STREAM))
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        where = host if port is None else f"{host}, port {port}"
        why = getattr(error, "strerror", None) or "it is no address"
        raise StudioError(f"Cannot listen on {where} ({why}): choose another --host or --port.") from error


def run(args: Flags) -> None:
    """Start loading the models and serve the page meanwhile. Raises StudioError: when an option is unusable."""
    from app.models import zero_gpu
    from app.models.engines import Models, found_repositories, with_backbones
    from app.page.layout import build
    from app.page.views.theme import STYLE, theme
    from app.photos.libraries import PhotoLibraries
    from app.photos.samples import Samples
    from app.server.errors import OneLine, without_trace
    from app.server.serve import serve
    from app.visitors.limits import Limits
    from app.visitors.registry import Visitors
    from app.visitors.tab import Sources
    from core.common.device import use
    from core.common.progress import Steps, say
    from core.common.runtime import set_up_heap

    logging.basicConfig(level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(Printable(LINE))
    logging.getLogger("asyncio").addFilter(without_trace)
    sys.stderr = OneLine(sys.stderr)  # only now: the log itself has the traces of errors in handlers
    use("cpu" if zero_gpu.HERE else args.device)  # on ZeroGPU, only single calls run on the GPU
    sources = Sources(PhotoLibraries(args.library, args.index_from_page), None if args.empty else Samples())
    limits = Limits.from_environment()
    set_up_heap()
    offered, given = with_backbones(found_repositories(args.experts), args.backbone, args.hub)
    steps = Steps(say)
    for backbone in given:
        backbone.fetch(lambda done, size: steps("downloading the weights", done // 10**6, size // 10**6, "MB"))
    models = Models(others=offered, first=given[0] if given else None)
    visitors = Visitors(limits, models.first, sources)
    page, i18n = build(models, visitors)
    visitors.start()
    hosts, looks = Hosts.of(args.address, args.host_name, args.proxy), {"i18n": i18n, "theme": theme(), "css_paths": STYLE}
    disk = {"could_fit": visitors.could_fit, "count_upload": visitors.count_upload, "max_upload": limits.upload}
    serve(page, address=args.address, port=args.port, hosts=hosts, mcp=args.mcp, **disk, **looks)


class Printable(logging.Formatter):
    """Format a message on one line without terminal codes, whatever a visitor sent."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record)).replace("\n", "\\n")

    def formatException(self, ei: Any) -> str:
        return printable(super().formatException(ei))


def stop_once(number: int, _: object) -> NoReturn:
    """Interrupt the main thread. Further signals do not interrupt the clean-up."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    if number not in (signal.SIGINT, signal.SIGTERM):  # the terminal is gone
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (the process ends)
    raise KeyboardInterrupt


def end(reason: str = "") -> NoReturn:
    """Run the exit handlers and end the process at once: a normal exit would cut off computing threads in the middle of C++."""
    if reason:
        print(printable(reason), file=sys.stderr)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if reason else 0)
