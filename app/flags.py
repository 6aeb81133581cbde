"""The flags of `python app.py`."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.server.hosts import is_loopback

PORTS = range(1, 2**16)
Flags = argparse.Namespace


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
    words = "offer the endpoints as MCP tools, too, at /gradio_api/mcp/; needs the package mcp (default: $GRADIO_MCP_SERVER)"
    wanted = os.environ.get("GRADIO_MCP_SERVER", "").lower() == "true"  # on a Space, where no flags are given
    parser.add_argument("--mcp", action="store_true", default=wanted, help=words)
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
