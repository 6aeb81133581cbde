"""The flags of `python app.py`."""

import argparse
import os
import sys
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from app.server.hosts import is_loopback
from core.backbones.spec import OWN_WEIGHTS

PORTS = range(1, 2**16)
Flags = argparse.Namespace


def flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="SG-LoRA Studio: from a sentence to a LoRA to better photo search.")
    several: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument("--host", help="address to listen on (default: $GRADIO_SERVER_NAME or 127.0.0.1)")
    words = "a host name that the server accepts, such as that of a proxy in front of it; may be given several times. "
    parser.add_argument("--host-name", **several, metavar="NAME", help=words + "It always accepts IP addresses and localhost")
    words = "a network of proxies that report visitors' addresses (X-Forwarded-For), besides those on this machine, such as "
    words += "172.17.0.0/16; may be given several times (default: $SG_LORA_PROXY, with commas; on a Space 10.0.0.0/8)"
    parser.add_argument("--proxy", type=ip_network, **several, metavar="NETWORK", help=words)
    words, port = "port (default: $GRADIO_SERVER_PORT or the first free one from 7860)", os.environ.get("GRADIO_SERVER_PORT")
    parser.add_argument("--port", type=port_number, default=port or None, help=words)
    words = "an expert repository, or a folder of them, that visitors may switch to; may be given several times. "
    words += "The app always finds those under experts/"
    parser.add_argument("--experts", type=Path, **several, metavar="DIR", help=words)
    words = "a model of open_clip that visitors start with, such as ViT-B-32 with --pretrained laion2b_s34b_b79k, "
    words += "local-dir:FOLDER or hf-hub:OWNER/NAME; may be given several times (default: $SG_LORA_BACKBONE, as NAME TAG, …)"
    listed = filter(str.strip, os.environ.get("SG_LORA_BACKBONE", "").split(","))
    named = [dict(zip(("spec", "pretrained"), each.split(), strict=False)) for each in listed]
    parser.add_argument("--backbone", type=lambda name: {"spec": name}, action="append", metavar="NAME", help=words)
    words = "the weights of the --backbone before it: a tag of open_clip, downloaded on first use, or a file"
    parser.add_argument("--pretrained", action=_Pretrained, metavar="TAG|FILE", help=words)
    words = "let visitors download CLIP from the Hugging Face hub with a click (default: $SG_LORA_HUB)"
    parser.add_argument("--hub", action="store_true", default=_true("SG_LORA_HUB"), help=words)
    words = "a library of photos (`python -m core index`) that all visitors may search; may be given several times"
    parser.add_argument("--library", type=Path, **several, metavar="DIR", help=words)
    parser.add_argument("--empty", action="store_true", help="open the page without the sample photos")
    words = "let the person at this machine index folders into the libraries from the page; not behind a proxy"
    parser.add_argument("--index-from-page", action="store_true", help=words)
    words = "cuda, mps, cpu, or auto (default): the first available one"
    parser.add_argument("--device", default="auto", metavar="NAME", help=words)
    words = "offer the endpoints as MCP tools, too, at /gradio_api/mcp/; needs the package mcp (default: $GRADIO_MCP_SERVER)"
    parser.add_argument("--mcp", action="store_true", default=_true("GRADIO_MCP_SERVER"), help=words)
    args = parser.parse_args()
    proxies = os.environ.get("SG_LORA_PROXY", "10.0.0.0/8" if os.environ.get("SPACE_ID") else "")
    if not args.proxy:
        parser.parse_args([f"--proxy={each}" for each in proxies.replace(",", " ").split()], args)
    args.backbone = [{**choice, "adapt": "texts"} for choice in args.backbone or named]
    for choice in args.backbone:
        if not choice.get("pretrained") and not choice["spec"].startswith(OWN_WEIGHTS):
            parser.error(f"--backbone {choice['spec']} needs --pretrained TAG or FILE after it: its weights would be random.")
    if args.mcp and find_spec("mcp") is None:
        sys.exit('--mcp needs one more package: pip install "mcp>=1.21,<2"')
    args.address = args.host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    if args.index_from_page and not (is_loopback(args.address) and not os.environ.get("SPACE_ID")):
        sys.exit("--index-from-page reads any folder of this machine: it needs --host 127.0.0.1.")
    return args


class _Pretrained(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, args: Flags, value: Any, option: str | None = None) -> None:
        if not args.backbone:
            parser.error("--pretrained belongs to the --backbone before it.")
        args.backbone[-1]["pretrained"] = value


def _true(variable: str) -> bool:
    """Whether a variable is set to “true”: on a Space, no flags are given."""
    return os.environ.get(variable, "").lower() == "true"


def port_number(text: str) -> int:
    if not (text.isdecimal() and len(text) <= 5 and int(text) in PORTS):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from {PORTS[0]} to {PORTS[-1]}")
    return int(text)
